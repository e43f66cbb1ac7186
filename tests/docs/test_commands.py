"""Every command line of every page names a command that exists, with options that it has."""

import re
import shlex
from pathlib import Path

import pytest

from cesma_sb3.cli import cesma

ROOT = Path(__file__).parents[2]
PAGES = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "tuning").rglob("*.md")]
LINE = re.compile(r"^    cesma (\w.*)$", flags=re.M)
INLINE = re.compile(r"`cesma\s([^`]*)`")


def command_lines():
    """Each command line with its page: in blocks, and in the middle of a sentence."""
    for page in PAGES:
        text = page.read_text(encoding="utf-8").replace("\\\n", " ")
        for line in LINE.findall(text) + [" ".join(words.split()) for words in INLINE.findall(text)]:
            yield str(page.relative_to(ROOT)), line


LINES = sorted(set(command_lines()))


@pytest.mark.parametrize(("page", "line"), LINES, ids=[f"{page}: {line}" for page, line in LINES])
def test_the_command_and_its_options_exist(page, line):
    words = shlex.split(line, comments=True)
    command = cesma.commands.get(words[0])
    assert command is not None or words[0].isupper(), words[0]
    known = {option for each in (command.params if command else []) for option in each.opts}
    for word in words[1:]:
        if word.startswith("--") and command:
            assert word.partition("=")[0] in known | {"--help"}, word
