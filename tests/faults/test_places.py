"""An error of somebody else's code is one line with the place in the user's file."""

import sys
import textwrap
from importlib import import_module

import pytest

from cesma_sb3.errors import error_line


@pytest.fixture
def module(tmp_path, monkeypatch):
    """Makes a module of the user's from its source."""
    monkeypatch.syspath_prepend(str(tmp_path))

    def make(name: str, source: str):
        path = tmp_path.joinpath(*name.split("."))
        path.parent.mkdir(exist_ok=True, parents=True)
        path.with_suffix(".py").write_text(textwrap.dedent(source))
        monkeypatch.delitem(sys.modules, name, raising=False)
        return import_module(name)

    return make


def raised_by(function, *args) -> BaseException:
    try:
        function(*args)
    except Exception as error:
        return error.with_traceback(error.__traceback__.tb_next)  # without this file's own frame
    raise AssertionError("expected an error")


def test_the_innermost_line_of_the_users_files_is_the_place(module):
    mine = module(
        "my_game",
        """
        import json

        def outer():
            return inner()

        def inner():
            return json.loads("{")
        """,
    )
    error = raised_by(mine.outer)
    assert error_line(error).startswith("JSONDecodeError: Expecting property name")
    assert error_line(error).endswith(" (my_game.py:8)")


def test_a_package_is_named_from_where_it_is_found(module):
    mine = module("games.rules", "def score(table):\n    return table['missing']\n")
    assert error_line(raised_by(mine.score, {})) == "KeyError: 'missing' (games/rules.py:2)"


def test_the_current_folder_comes_first(module, tmp_path, monkeypatch):
    mine = module("deep.down", "def fail():\n    raise ValueError\n")
    monkeypatch.chdir(tmp_path / "deep")
    assert error_line(raised_by(mine.fail)) == "ValueError: no message (down.py:2)"


def test_an_installed_package_is_named_where_no_file_is_the_users(module):
    mine = module("site-packages.toy", "def fail():\n    assert False, '\\n  first line\\nsecond'\n")
    assert error_line(raised_by(mine.fail)) == "AssertionError: first line (site-packages/toy.py:2)"


def test_no_place_is_given_where_there_is_none():
    assert error_line(KeyError("never raised")) == "KeyError: 'never raised'"


@pytest.mark.parametrize("text", ["", "\n", "  \n  "])
def test_errors_without_words(text):
    assert error_line(OSError(text)) == "OSError: no message"
