"""Whole runs in which the environment or the expert does something wrong, deep in the second stage."""

import json
import re

import pytest

from cesma_sb3 import cli
from cesma_sb3.training.run_folder import RunFolder
from cesma_sb3.utils import atomic
from tests.faults.refusals import assert_refusal

GAME = """
env:
  id: "tests.envs_for_tests:FaultyEnv"
  processes: {processes}
  step_timeout: {step_timeout}
  kwargs: {{fault: {fault}, at: 4, after: {after}, mended: {mended}}}
expert:
  algorithm: DQN
  action_view: product
  total_timesteps: 160
  n_envs: 2
  kwargs: {{learning_starts: 32, batch_size: 16}}
dagger: {{total_timesteps: 320, n_envs: 2, batch_size: 16}}
evaluation: {{n_final_episodes: 2, n_eval_episodes: 2, eval_freq: 2000, n_envs: 2}}
"""
CONTROLLED = """
env: {{id: "tests.envs_for_tests:{env}"}}
expert:
  algorithm: "tests.envs_for_tests:FaultyExpert"
  total_timesteps: 0
  kwargs: {{fault: {fault}, after: {after}, mended: {mended}}}
dagger: {{total_timesteps: 600, n_envs: 2, batch_size: 16}}
evaluation: {{n_final_episodes: 2, n_eval_episodes: 2, eval_freq: 2000, n_envs: 2}}
"""


def typed(capfd, *words):
    """Exit code and standard error."""
    capfd.readouterr()
    with pytest.raises(SystemExit) as ended:
        cli.main([str(word) for word in words])
    return ended.value.code, capfd.readouterr().err


def told_once(err, told):
    """Of all that a run prints, one line is the error."""
    lines = [line for line in err.splitlines(keepends=True) if line.startswith("error: ")]
    assert len(lines) == 1, err
    assert "Traceback" not in err
    assert_refusal(lines[0], told)


def fails_then_goes_on(capfd, tmp_path, text, told):
    """It ends with that line, and goes on when the fault is mended.

    Returns:
        What was kept of the expert, and what the second run prints.
    """
    path, run_dir = tmp_path / "mine.yaml", tmp_path / "run"
    path.write_text(text)
    code, err = typed(capfd, "run", path, "--out", run_dir)
    assert code == 2
    told_once(err, told)
    run = RunFolder.open(run_dir)
    assert run.status == "failed"
    assert (run_dir / "error.log").read_text().startswith("Traceback ")
    assert not atomic.leftovers(run.path)
    kept = list((run_dir / "checkpoints").glob("expert-*"))
    (tmp_path / "mended").touch()
    code, err = typed(capfd, "run", "--resume", run_dir)
    assert code == 0, err
    assert RunFolder.open(run_dir).status == "finished"
    assert not (run_dir / "error.log").exists()
    assert json.loads((run_dir / "report.json").read_text())["return"]["students"] >= 0
    return kept, err


@pytest.mark.parametrize(
    ("fault", "processes", "told"),
    [
        ("raise", 0, ["step 4: raised RuntimeError: the physics exploded (tests/envs_for_tests.py:"]),
        ("nan", 0, ["environment 0: small, step 4: observation of player_1: entry 1 is nan"]),
        ("nan-reward", 0, ["environment 0: small, step 4: reward of player_1 is nan"]),
        ("shape", 0, ["step 4: observation of player_1", "(5,)"]),
        ("type", 0, ["step 4: observation of player_1", "a red cue"]),
        ("vanish", 0, ["step 4: player_1 is alive and has no observation"]),
        ("stranger", 0, ["step 4: agents ['nobody'] are not among its possible_agents"]),
        pytest.param(
            *("raise", 1, ["environment 0: small, step 4: raised RuntimeError: the physics exploded"]),
            marks=pytest.mark.slow,
        ),
        ("die", 1, ["environments 0", "exit code 3"]),
        pytest.param(
            *("hang", 1, ["environments 0 to 1: no answer within 20 seconds"]), marks=pytest.mark.slow
        ),
    ],
)
def test_an_environment(fault, processes, told, capfd, tmp_path):
    step_timeout = 20 if fault == "hang" else "null"
    text = GAME.format(
        fault=fault, processes=processes, step_timeout=step_timeout, after=120, mended=tmp_path / "mended"
    )
    kept, err = fails_then_goes_on(capfd, tmp_path, text, told)
    assert kept  # it was the second stage, and what was trained in the first is not trained again
    assert re.search(r"expert: done after 160 steps in \S+, 0/s", err)  # none of them anew
    assert "students: done" in err


@pytest.mark.parametrize("after", [3, 100])
@pytest.mark.parametrize(
    ("fault", "told"),
    [
        ("nan", "nan for player_1 in environment 0, step "),
        ("range", "for player_1 in environment "),
        ("shape", "shape (2, 1), expected (2, 2)"),
        ("unavailable", "for mortal_1 in environment 0, step "),
    ],
)
def test_an_expert(fault, told, after, capfd, tmp_path):
    """In an evaluation (after three calls), and in the middle of what the students learn from."""
    env = 'MortalEnv", team_reward: "sum' if fault == "unavailable" else "MatchingGame"
    text = CONTROLLED.format(env=env, fault=fault, after=after, mended=tmp_path / "mended")
    fails_then_goes_on(capfd, tmp_path, text, ["FaultyExpert", told])
