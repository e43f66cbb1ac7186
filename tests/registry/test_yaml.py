"""YAML: read strictly, and written so that it reads back the same."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cesma_sb3.config.yaml import read_mapping, read_value, write_mapping
from cesma_sb3.errors import ConfigError

_TEXT = st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"]), max_size=12)
_SCALARS = (
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | _TEXT
)
_VALUES = st.recursive(
    _SCALARS | st.sampled_from(["1e-3", "010", "1:30", "no", "~", "true", "<<", "1_000", "-", "2020-01-01"]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(_TEXT, inner, max_size=4),
    max_leaves=12,
)


@given(st.dictionaries(_TEXT, _VALUES, max_size=4))
def test_what_is_written_is_read_back(data):
    assert read_mapping(write_mapping(data), "f.yaml") == data


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-3", 1e-3),
        ("1E5", 1e5),
        ("-.5", -0.5),
        ("150_000", 150_000),
        ("0", 0),
        ("010", "010"),
        ("1:30", "1:30"),
        ("no", "no"),
        ("on", "on"),
        ("true", True),
        ("", None),
        ("null", None),
        ("[64, 64]", [64, 64]),
        ("2020-01-01", "2020-01-01"),
        ("spread-3", "spread-3"),
    ],
)
def test_scalars_mean_what_they_look_like(text, value):
    read = read_value(text, "--set")
    assert read == value
    assert type(read) is type(value)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("a: 1\na: 2", "f.yaml: line 2: key 'a' is given twice"),
        ("a: {b: 1, b: 2}", "f.yaml: line 1: key 'b' is given twice"),
        ("a: !!python/object/apply:os.system [ls]", "f.yaml: line 1: tags are not allowed"),
        ("a: !!binary aGk=", "f.yaml: line 1: tags are not allowed"),
        ("a: &x [1]\nb: [*x, *x]", "f.yaml: line 1: anchors and aliases"),
        ("1: a", "f.yaml: line 1: key 1: expected text"),
        ("[a]: 1", "f.yaml: line 1: key ['a']: expected text"),
        ("- a", "f.yaml: expected a mapping of keys to values, got a list"),
        ("", "f.yaml: expected a mapping of keys to values, got an empty file"),
        ("a: 1\n---\nb: 1", "f.yaml: line 2:"),
        ("a: [1", "f.yaml: line 1:"),
        ("a: \x07", "f.yaml: not YAML:"),
        ("a: {b: [1, .nan]}", "f.yaml: a.b.1: expected a finite number, got nan"),
        ("a: -.inf", "f.yaml: a: expected a finite number, got -inf"),
        ("a: 1e999", "f.yaml: a: expected a finite number, got inf"),
        ("a: " + "9" * 5000, "f.yaml: not YAML:"),
        ("a: " + "[" * 1200, "f.yaml: nested too deeply"),
    ],
)
def test_what_is_refused_in_one_line(text, problem):
    with pytest.raises(ConfigError) as caught:
        read_mapping(text, "f.yaml")
    assert str(caught.value).startswith(problem)
    assert len(str(caught.value).splitlines()) == 1
