"""Input that is meant to do harm: refused like any other, and nothing of it is executed."""

import contextlib
import subprocess
import sys
import warnings

import pytest
from stable_baselines3 import PPO

from tests.faults import hostile
from tests.faults.refusals import assert_refusal, contents

DEEP = 10_000
YAML = {
    "a tag that calls a function": ("a: !!python/object/apply:os.mkdir [executed]", "tags are not allowed"),
    "a tag that makes an object": (
        "a: !!python/object/new:os.mkdir {args: [executed]}",
        "tags are not allowed",
    ),
    "a tag that names a module": ("a: !!python/module:executed ''", "tags are not allowed"),
    "a tag that names a function": ("a: !!python/name:os.mkdir ''", "tags are not allowed"),
    "a tag of its own": (
        "%TAG ! tag:yaml.org,2002:python/\n---\na: !name:os.mkdir ''",
        "tags are not allowed",
    ),
    "a tag of a key": ("!!python/name:os.mkdir a: 1", "tags are not allowed"),
    "a tag of all": ("!!python/dict {a: 1}", "tags are not allowed"),
    "a binary": ("a: !!binary aGVsbG8=", "tags are not allowed"),
    "a set": ("a: !!set {x, y}", "tags are not allowed"),
    "a billion laughs": (hostile.billion_laughs(), "anchors and aliases"),
    "itself": ("a: &a [*a]", "anchors and aliases"),
    "a merge": ("a: &a {b: 1}\nc: {<<: *a}", "anchors and aliases"),
    "a merge without an anchor": ("extends: spread-3\nenv: {<<: {id: spread}}", "<<"),
    "an alias of nothing": ("a: *nothing", "anchors and aliases"),
    "lists in lists": ("a: " + "[" * DEEP, "nested too deeply"),
    "lists in lists that end": ("a: " + "[" * DEEP + "]" * DEEP, "nested too deeply"),
    "mappings in mappings": ("a: " + "{a: " * (DEEP // 2), "nested too deeply"),
    "blocks in blocks": ("\n".join(" " * level + "a:" for level in range(600)), "nested too deeply"),
    "lists of lists": ("- " * DEEP, "nested too deeply"),
    "keys of keys": ("? " * DEEP, "nested too deeply"),
    "a long word": ("extends: spread-3\ndescription: [" + "a" * 200_000 + "]", "description: expected text"),
    "a long key": ("extends: spread-3\n" + "a" * 1000 + ": 1", "unknown key"),
    "a long number": ("extends: spread-3\nseed: " + "9" * 5_000, "not YAML"),
    "many documents": ("---\na: 1\n" * 10_000, "line 3:"),
    "many keys": ("\n".join(f"k{index}: {index}" for index in range(5_000)), "unknown key"),
    "a large file": ("a: 1\n" + "#" * 300_000, "cannot be read: expected at most"),
    "a control character": ("extends: spread-3\ndescription: [\x1b[31m]", "not YAML"),
    "an escape": ('extends: spread-3\nseed: "\\e[31m"', "seed: expected an integer"),
    "half of a pair": ('extends: spread-3\nname: "\\ud800"', "name"),
    "what turns the line around": ('extends: spread-3\n"\\u202Eabc": 1', "unknown key"),
    "a line in a name": ('extends: spread-3\n"a\\nerror: b": 1', "unknown key"),
}


@pytest.mark.parametrize(("text", "told"), YAML.values(), ids=YAML)
def test_yaml(text, told, refused):
    refused.write({"mine.yaml": text})
    refused("run", "mine.yaml", told=["mine.yaml", told])


@pytest.mark.parametrize(
    "command", [["tune", "spread-3", "--space"], ["reproduce"]], ids=lambda words: words[0]
)
def test_other_files_are_read_as_strictly(command, refused):
    for name in ("a tag that calls a function", "a billion laughs", "lists in lists", "a large file"):
        text, told = YAML[name]
        refused.write({"mine.yaml": text})
        refused(*command, "mine.yaml", told=["mine.yaml", told])


@pytest.mark.parametrize("suffix", ["zip", "pt", "pth", "ts", "onnx", "pkl", "safetensors"])
@pytest.mark.parametrize("trust", [False, True])
def test_pickles_as_controllers(suffix, trust, refused):
    """Trust is trust: of what may run code, only files of another kind are tried with it."""
    file = f"model.{suffix}"
    refused.write({file: hostile.PICKLE})
    words = ["decentralize", file, "spread", *(["--algorithm", "PPO"] if suffix in ("zip", "pkl") else [])]
    refused(*words, *(["--trust"] if trust else []), told=file)


def test_an_sb3_file_without_trust(refused):
    hostile.sb3_file(refused.folder / "model.zip")
    told = (
        "model.zip: an SB3 file holds pickled objects and may run any code when it is loaded; expected trust"
    )
    refused("decentralize", "model.zip", "spread", "--algorithm", "PPO", told=told)
    refused.write({"mine.yaml": "extends: spread-3-scripted\nexpert: {algorithm: PPO, path: model.zip}"})
    refused("run", "mine.yaml", told="model.zip")
    (refused.folder / "model.zip").rename(refused.folder / "model.onnx")
    refused("decentralize", "model.onnx", "spread", told="model.onnx: no ONNX model")


def test_the_canary_would_sing(tmp_path, monkeypatch):
    """The file does harm where it is believed: without it the tests above would say nothing."""
    monkeypatch.chdir(tmp_path)
    hostile.sb3_file(tmp_path / "model.zip")
    with warnings.catch_warnings(), contextlib.suppress(Exception):  # nothing else of it can be used
        warnings.simplefilter("ignore")
        PPO.load(tmp_path / "model.zip", device="cpu")
    assert (tmp_path / hostile.EXECUTED).is_dir()


@pytest.mark.integration
def test_as_a_person_sees_it(tmp_path):
    """The same in processes of their own, where nothing catches what the command does not."""
    (tmp_path / "tag.yaml").write_text(YAML["a tag that calls a function"][0])
    (tmp_path / "model.zip").write_bytes(hostile.PICKLE)
    before = contents(tmp_path)
    for words in (
        ["run", "tag.yaml"],
        ["decentralize", "model.zip", "spread", "--algorithm", "PPO"],
    ):
        command = [sys.executable, "-m", "cesma_sb3", *words]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert (done.returncode, done.stdout) == (2, "")
        assert_refusal(done.stderr)
    assert contents(tmp_path) == before
