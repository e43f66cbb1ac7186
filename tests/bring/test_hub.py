"""A team is published and read back: on a server of this machine, and in a folder."""

from __future__ import annotations

import json
import os
import pickle
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch as th
from click.testing import CliRunner
from gymnasium import spaces
from huggingface_hub import ModelCard, constants, file_download

import cesma_sb3
from cesma_sb3.cli import cesma
from cesma_sb3.config.registry import load_experiment
from cesma_sb3.deploy import hub
from cesma_sb3.errors import ConfigError, StorageError
from cesma_sb3.policies import TeamPolicy, team_files
from cesma_sb3.spaces.team_spaces import TeamSpaces
from cesma_sb3.training.run_folder import RunFolder
from tests.bring.local_hub import local_hub


@pytest.fixture(scope="module")
def run_dir(shared_run) -> Path:
    return shared_run("scripted")


@pytest.fixture
def server(tmp_path, monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    with local_hub() as found:
        turn_to(found.url, monkeypatch)
        yield found


def turn_to(url: str, monkeypatch) -> None:
    """As HF_ENDPOINT does where it is set before huggingface_hub is imported."""
    template = constants.HUGGINGFACE_CO_URL_TEMPLATE.replace(constants.ENDPOINT, url)
    for module in (constants, file_download):  # releases before 1.0 have it in both
        monkeypatch.setattr(module, "HUGGINGFACE_CO_URL_TEMPLATE", template, raising=False)
    monkeypatch.setattr(constants, "ENDPOINT", url)


def test_what_was_pushed_is_what_is_loaded(run_dir, server):
    url = cesma_sb3.push_to_hub(run_dir, "somebody/team", token=server.token)
    assert url.startswith(f"{server.url}/somebody/team/commit/")
    files = server.repos["somebody/team"]
    assert {"README.md", "config.yaml", "report.json", "students/team.json"} <= set(files)
    assert not any(name.startswith("expert") or name == "run.json" for name in files)
    team = cesma_sb3.load_from_hub("somebody/team")
    kept = cesma_sb3.load_team(run_dir / "students")
    th.testing.assert_close(team.state_dict(), kept.state_dict())
    own = np.zeros(team.agent(0).spaces.observation_size, np.float32)
    ours, theirs = (each.agent(0).predict(own, deterministic=True)[0] for each in (team, kept))
    assert ours == theirs
    assert not any("README" in asked for asked in server.asked if asked.startswith("GET"))


def test_pushing_again_is_another_commit(run_dir, server):
    for message in (None, "again"):
        cesma_sb3.push_to_hub(run_dir, "a/b", token=server.token, message=message)
    assert list(server.repos) == ["a/b"]


def test_the_card_holds_the_report(run_dir, server):
    cesma_sb3.push_to_hub(run_dir, "somebody/team", token=server.token)
    card = ModelCard(server.repos["somebody/team"]["README.md"].decode())
    report = json.loads((run_dir / "report.json").read_text())
    (result,) = card.data.eval_results
    assert card.data.library_name == "cesma-sb3"
    assert result.dataset_name == "spread"
    assert result.metric_value.startswith(f"{report['return']['students']:.2f} +/- ")
    for policy, value in report["return"].items():
        assert f"| {policy} | {value:.2f} |" in card.text
    assert 'load_from_hub("somebody/team")' in card.text
    assert "| `agent_0` | 18 scalars: " in card.text
    assert not re.search(r"^\| \S+ \| - \|$", card.text, re.M)  # every version is known
    assert str(run_dir) not in card.content  # nothing of this machine


def test_the_cards_own_code_runs(run_dir, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    hub.write_published(run_dir, "published")
    (code,) = re.findall(r"```python\n(.*?)```", (tmp_path / "published" / "README.md").read_text(), re.S)
    names = {"own_observation": np.zeros(18, np.float32)}
    exec(code, names)
    assert 0 <= names["action"] < 5


def test_the_card_says_that_an_agent_needs_its_mask(tmp_path):
    box = {"a": spaces.Box(0.0, 1.0, (2,))}
    for masked in (False, True):
        team = TeamSpaces(["a"], box, {"a": spaces.Discrete(2)}, masks_in_infos=masked)
        policy = TeamPolicy(team.observation_space, team.action_space, lambda _: 0.0, team=team)
        run = RunFolder.create(load_experiment("spread-3"), tmp_path / f"{masked}")
        run.write_folder("students", team_files(policy))
        numbers = {key: {"students": 1.0} for key in ("return", "std", "standard_error", "normalized")}
        run.finish({**numbers, "episodes": 1, "reward": "points"})
        card = (hub.write_published(run.path, tmp_path / f"out-{masked}") / "README.md").read_text()
        assert ("agent.predict(own_observation, action_masks=own_mask, deterministic=True)" in card) == masked


def test_a_folder_will_do(run_dir, tmp_path):
    done = CliRunner().invoke(cesma, ["push", str(run_dir), str(tmp_path / "out")], catch_exceptions=False)
    assert done.exit_code == 0
    team = cesma_sb3.load_from_hub(tmp_path / "out")
    th.testing.assert_close(team.state_dict(), cesma_sb3.load_team(run_dir / "students").state_dict())
    with pytest.raises(ConfigError, match="expected a new or an empty folder"):
        hub.write_published(run_dir, tmp_path / "out")


@pytest.mark.integration
def test_the_command_pushes(run_dir, server, tmp_path):
    names = {"HF_ENDPOINT": server.url, "HF_TOKEN": server.token, "HF_HOME": str(tmp_path)}
    words = [sys.executable, "-m", "cesma_sb3", "push", str(run_dir), "x/y"]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2]), **names}
    done = subprocess.run(words, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"{server.url}/x/y/commit/")
    assert "x/y" in server.repos


def test_nothing_that_was_published_runs_when_loaded(run_dir, server, tmp_path):
    """A hostile file beside the others is neither asked for nor read; in the place of one, it is no team."""

    class Hostile:
        def __reduce__(self):
            return Path(tmp_path / "ran").touch, ()

    cesma_sb3.push_to_hub(run_dir, "a/b", token=server.token)
    server.repos["a/b"]["expert/model.zip"] = pickle.dumps(Hostile())
    cesma_sb3.load_from_hub("a/b")
    server.repos["a/b"]["students/team.safetensors"] = pickle.dumps(Hostile())
    with pytest.raises(StorageError, match=r"team\.safetensors"):
        cesma_sb3.load_from_hub("a/b")
    assert not (tmp_path / "ran").exists()
    assert not any("model.zip" in asked for asked in server.asked)


def test_what_goes_wrong_is_one_line(run_dir, server, tmp_path):
    with pytest.raises(StorageError, match=r"somebody/team: .*401"):
        cesma_sb3.push_to_hub(run_dir, "somebody/team", token="hf_wrong")
    assert not server.repos
    with pytest.raises(StorageError, match="no/such: "):
        cesma_sb3.load_from_hub("no/such")
    with pytest.raises(ConfigError, match="'no//name': no name of a repository"):
        cesma_sb3.load_from_hub("no//name")
    with pytest.raises(StorageError, match="no such folder"):
        cesma_sb3.push_to_hub(tmp_path / "nothing", "a/b", token=server.token)
    with pytest.raises(StorageError, match="holds no team"):
        cesma_sb3.load_from_hub(tmp_path)


def test_a_server_that_is_not_there_is_told(server, monkeypatch):
    turn_to("http://127.0.0.1:9", monkeypatch)
    with pytest.raises(StorageError, match="a/b: the server was not reached"):
        cesma_sb3.load_from_hub("a/b")
