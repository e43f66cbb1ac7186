"""Input that nobody thought of: registered experiments, changed at random, settings and files of noise."""

import copy
import io
import math
from contextlib import redirect_stderr, redirect_stdout
from functools import cache

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cesma_sb3 import cli
from cesma_sb3.config.registry import list_experiments, load_experiment
from cesma_sb3.config.yaml import write_mapping
from cesma_sb3.errors import CesmaError
from tests.faults.refusals import assert_refusal

NAMES = list(list_experiments())
EXAMPLES = 40
INDEX = st.integers(0, 2**20)
"""Of something in a list, whatever its length."""
TEXT = st.text(max_size=12)
WORDS = st.sampled_from(["run", "show", "list", "--set", "--seed", "-1", "--out", "", "spread"]) | TEXT
BYTES = st.binary(max_size=200) | st.text(max_size=200).map(lambda text: text.encode("utf-8", "replace"))
NUMBERS = st.integers() | st.floats() | st.sampled_from([0, -1, 2**31, 2**63, 10**30, 1e308, math.nan, -0.0])
VALUES = st.recursive(
    st.none() | st.booleans() | NUMBERS | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=5,
)


def leaves(values, path=()):
    """Paths of everything in nested mappings, sections too."""
    for key, value in values.items():
        yield (*path, key)
        if isinstance(value, dict):
            yield from leaves(value, (*path, key))


def one_of(choices, index):
    choices = sorted(choices)
    return choices[index % len(choices)]


def changed(values, path, change):
    """A copy in which `change` was done to the mapping that holds the last key of a path."""
    found = copy.deepcopy(values)
    inner = found
    for key in path[:-1]:
        inner = inner[key]
    change(inner, path[-1])
    return found


def outcome(values, overrides=None):
    """What comes of an experiment: itself, or the line that it is refused with."""
    try:
        return load_experiment(values, overrides)
    except CesmaError as error:
        line = str(error)
        assert line
        assert len(line.splitlines()) == 1
        return line


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    return tmp_path_factory.mktemp("fuzzed") / "mine.yaml"


@cache
def registered(name):
    """The values of an experiment."""
    return load_experiment(name, check_names=False).to_mapping()


@given(name=st.sampled_from(NAMES), index=INDEX, value=VALUES)
@settings(max_examples=EXAMPLES)
def test_a_value_is_replaced(name, index, value, file):
    path = one_of(leaves(registered(name)), index)
    values = changed(registered(name), path, lambda inner, key: inner.update({key: value}))
    file.write_text(write_mapping(values), encoding="utf-8", errors="surrogatepass")
    found = outcome(file)
    if isinstance(found, str):
        assert "mine.yaml" in found


@given(name=st.sampled_from(NAMES), index=INDEX)
@settings(max_examples=EXAMPLES)
def test_a_key_is_left_out(name, index, file):
    path = one_of(leaves(registered(name)), index)
    file.write_text(write_mapping(changed(registered(name), path, lambda inner, key: inner.pop(key))))
    found = outcome(file)
    if isinstance(found, str):
        assert "mine.yaml" in found


@given(name=st.sampled_from(NAMES), index=INDEX, where=INDEX)
@settings(max_examples=EXAMPLES)
def test_a_key_with_a_slip_is_told_with_the_right_one(name, index, where, file):
    """Two letters that changed places, or one too many: the nearest name is the one that was meant."""
    free = [path for path in leaves(registered(name)) if any(part.endswith("kwargs") for part in path[:-1])]
    known = [path for path in leaves(registered(name)) if path not in free and len(path[-1]) > 4]
    *above, key = one_of(known, index)
    at = 1 + where % (len(key) - 2)
    swapped, doubled = key[:at] + key[at + 1] + key[at] + key[at + 2 :], key[:at] + key[at] + key[at:]
    slip = one_of({swapped, doubled} - {key}, where // 20)
    values = changed(registered(name), (*above, key), lambda inner, key: inner.update({slip: inner.pop(key)}))
    file.write_text(write_mapping(values))
    told = f"mine.yaml: {'.'.join((*above, slip))}: unknown key; did you mean {key!r}?"
    assert told in str(outcome(file))


@given(index=INDEX, value=VALUES)
@settings(max_examples=EXAMPLES)
def test_an_override_of_anything(index, value):
    path = one_of(leaves(registered("spread-3")), index)
    outcome("spread-3", {".".join(path): value})


def typed(*words):
    """Exit code and standard error of a command."""
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err), pytest.raises(SystemExit) as caught:
        cli.main(words)
    return caught.value.code, err.getvalue()


@given(text=st.text(max_size=30) | st.from_regex(r"[a-z_.]{1,12}=[^\x00]{0,12}", fullmatch=True))
@settings(max_examples=EXAMPLES)
def test_settings_of_noise(text):
    code, err = typed("tune", "no-such-experiment", "--set", text)
    assert code == 2
    assert_refusal(err)


@given(content=BYTES)
@settings(max_examples=EXAMPLES)
def test_files_of_noise(content, file):
    file.write_bytes(content)
    code, err = typed("show", str(file))
    assert code == 2
    assert_refusal(err, "mine.yaml")


@given(words=st.lists(WORDS))
@settings(max_examples=EXAMPLES)
def test_command_lines_of_noise(words):
    """What is no experiment: nothing of this can run."""
    code, err = typed(*words)
    assert code in (0, 2)
    if code == 2:
        assert_refusal(err)
