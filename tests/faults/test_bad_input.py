"""Input that is wrong: refused in one line that says what and where, before anything is done."""

import shlex
import shutil
from pathlib import Path

import pytest
import yaml

TABLES = Path(__file__).parent


def rows(table):
    """Cases of a table: the name of its part, what is wrong, and what must be told."""
    parts = yaml.safe_load((TABLES / f"{table}.yaml").read_text())
    return [
        pytest.param(part, bad, told, id=str(bad)) for part, cases in parts.items() for bad, *told in cases
    ]


@pytest.mark.parametrize(("part", "text", "told"), rows("bad_experiments"))
def test_experiments(part, text, told, refused):
    refused.write({"mine.yaml": text if part == "the whole file" else f"extends: {part}\n{text}"})
    refused("run", "mine.yaml", told=told)


def test_a_name_that_no_folder_can_have(refused):
    refused.write({"mine.yaml": f"extends: spread-3\nname: {'a' * 300}"})
    refused("run", "mine.yaml", told="mine.yaml: name: expected at most 100 letters, got 300")


@pytest.mark.parametrize(("part", "setting", "told"), rows("bad_settings"))
def test_settings(part, setting, told, refused):
    refused("run", "spread-3", "--set", setting, told=told)


@pytest.mark.parametrize(("part", "text", "told"), rows("bad_spaces"))
def test_search_spaces(part, text, told, refused):
    refused.write({"mine.yaml": text})
    refused("tune", "spread-3", "--space", "mine.yaml", told=["mine.yaml", *told])


LINE = "{experiment: spread-3, label: CESMA, kind: students}"
FIGURE = {
    "title": "title: A",
    "source": "source: B",
    "seeds": "seeds: {quick: 1, registered: 1, full: 1}",
    "panels": "panels: [{name: a, title: A, lines: [LINE]}]",
}


@pytest.mark.parametrize(("part", "text", "told"), rows("bad_figures"))
def test_figures(part, text, told, refused):
    if part == "its lines":
        text = FIGURE["panels"].replace("LINE", text)
    if part != "the whole file":
        others = [line for key, line in FIGURE.items() if not text.startswith(f"{key}:")]
        text = "\n".join([*others, text])
    refused.write({"mine.yaml": text.replace("LINE", LINE)})
    refused("reproduce", "mine.yaml", told=told)


FILES = {
    "a-file": "text",
    "a-folder.yaml/": "",
    "a-folder.onnx/": "",
    "latin-1.yaml": "description: caf\xe9".encode("latin-1"),
    "utf-16.yaml": "seed: 1".encode("utf-16"),
    "zeros.yaml": bytes(1000),
    **{f"noise.{suffix}": bytes(range(256)) * 4 for suffix in ("yaml", "zip", "onnx", "pt")},
}


@pytest.mark.parametrize(("part", "words", "told"), rows("bad_commands"))
def test_commands(part, words, told, refused, finished_run):
    refused.write(FILES)
    (refused.folder / "link.yaml").symlink_to("link.yaml")
    (refused.folder / "endless.yaml").symlink_to("/dev/zero")
    shutil.copytree(finished_run, refused.folder / "RUN")
    refused(*shlex.split(words), told=told)
