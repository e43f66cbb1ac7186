"""Any name has a file name: unique where letter case does not count, and readable back."""

from pathlib import Path
from urllib.parse import unquote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cesma_sb3.config.registry import load_experiment
from cesma_sb3.policies import TeamPolicy, load_team, save_team
from cesma_sb3.spaces.team_spaces import TeamSpaces
from cesma_sb3.training.run_folder import RunFolder
from cesma_sb3.utils.file_names import as_path, file_names
from tests.envs_for_tests import MatchingGame


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


def test_a_path_below_the_home_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    assert as_path("~/runs/a") == tmp_path / "runs" / "a"
    assert as_path(Path("~")) == tmp_path
    assert as_path("a/~b") == Path("a/~b")
    assert as_path("~nobody-of-this-name/a") == Path("~nobody-of-this-name/a")
    RunFolder.create(load_experiment("spread-3"), "~/mine")
    assert RunFolder.open("~/mine").path == RunFolder.open(tmp_path / "mine").path
    assert load_experiment("~/mine/config.yaml").name == "spread-3"
    team = TeamSpaces.from_parallel_env(MatchingGame())
    save_team(TeamPolicy(team.observation_space, team.action_space, lambda _: 0.0, team=team), "~/team")
    assert load_team("~/team").team == team
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mine", "team"]
