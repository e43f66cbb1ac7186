"""Any name has a file name: unique where letter case does not count, and readable back."""

from urllib.parse import unquote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cesma_sb3._file_names import file_names


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("agent_0", "agent_0"),
        ("Team-A.north", "Team-A.north"),
        ("team/0", "team%2F0"),
        ("a b", "a%20b"),
        ("..", "%2E%2E"),
        (".hidden", "%2Ehidden"),
        ("end.", "end%2E"),
        ("CON", "%43ON"),
        ("lpt1.left", "%6Cpt1.left"),
        ("Käfer", "K%C3%A4fer"),
        ("50%", "50%25"),
        ("a~2", "a%7E2"),
        ("C:\\x\n", "C%3A%5Cx%0A"),
    ],
)
def test_what_a_name_becomes(name, file):
    assert file_names([name]) == {name: file}
    assert unquote(file) == name


def test_names_that_differ_by_case_and_a_name_of_nothing():
    found = file_names(["agent", "Agent", "AGENT", ""])
    assert list(found.values()) == ["agent", "Agent~2", "AGENT~3", "~"]


def test_long_names_stay_apart():
    found = file_names([letter * 300 + end for letter in "aA" for end in "xy"])
    assert len({file.casefold() for file in found.values()}) == 4
    assert max(map(len, found.values())) < 100


@settings(max_examples=100, deadline=None)
@given(st.lists(st.text(max_size=120), min_size=1, max_size=12, unique=True))
def test_every_name_has_a_file_of_its_own(tmp_path_factory, names):
    found = file_names(names)
    assert list(found) == names
    assert len({file.casefold() for file in found.values()}) == len(names)
    folder = tmp_path_factory.mktemp("files")
    for name, file in found.items():
        (folder / f"{file}.json").write_text("")
        assert (folder / f"{file}.json").parent == folder
        if "~" not in file:
            assert unquote(file) == name
    assert len(list(folder.iterdir())) == len(names)
