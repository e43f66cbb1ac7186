"""`cesma run` and `cesma evaluate` for real, on a tiny budget."""

import csv
import json
import subprocess
import sys

import pytest

from cesma_sb3 import cli
from cesma_sb3.training.run_folder import RunFolder
from cesma_sb3.utils import atomic

pytestmark = pytest.mark.integration

TINY = [
    "--set", "expert.total_timesteps=128", "--set", "expert.n_envs=8",
    "--set", "expert.kwargs.learning_starts=32",
    "--set", "expert.kwargs.batch_size=16", "--set", "expert.policy_kwargs.hidden_sizes=[8]",
    "--set", "students.hidden_sizes=[8]", "--set", "dagger.total_timesteps=128", "--set", "dagger.n_envs=8",
    "--set", "dagger.batch_size=16", "--set", "evaluation.n_final_episodes=4",
    "--set", "evaluation.n_eval_episodes=2", "--set", "evaluation.eval_freq=64",
    "--set", "evaluation.n_envs=2",
]  # fmt: skip


def cesma(*arguments, cwd):
    return subprocess.run(
        [sys.executable, "-m", "cesma_sb3", *arguments], capture_output=True, text=True, check=False, cwd=cwd
    )


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    """A finished `cesma run`, and the folder in which it was called."""
    folder = tmp_path_factory.mktemp("work")
    return cesma("run", "spread-3", "--seed", "1", *TINY, "--json", cwd=folder), folder


@pytest.fixture
def run(done):
    finished, folder = done
    assert finished.returncode == 0, finished.stderr
    return RunFolder.open(folder / json.loads(finished.stdout)["run_dir"])


def test_json_stands_alone_on_standard_output(done, run):
    printed = json.loads(done[0].stdout)
    assert printed.pop("run_dir").startswith("runs/spread-3/")
    assert printed == run.report()
    assert set(printed["return"]) == {"expert", "students", "reference", "random"}
    assert printed["normalized"]["random"] == 0.0
    assert printed["normalized"]["reference"] == 1.0


def test_progress_of_both_stages_is_on_standard_error(done):
    lines = done[0].stderr.splitlines()
    assert [line.split(" steps")[0] for line in lines if line.endswith(" steps")] == [
        "expert: 128",
        "students: 128",
    ]
    assert sum("done after 128 steps" in line for line in lines) == 2
    assert "\r" not in done[0].stderr


def test_the_final_evaluation_is_announced_after_both_stages(done):
    lines = done[0].stderr.splitlines()
    assert lines[-1] == "evaluation: 4 episodes of each policy"


def test_the_critic_of_students_that_imitate_does_not_count(run):
    counts = run.report()["parameters"]["students"]
    assert counts["critic"] == 0
    assert counts["total"] == counts["actor"] > 0


def test_a_stage_ends_with_the_return_of_what_it_keeps(done, run):
    with (run.path / "evaluations.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    for stage in ("expert", "students"):
        best = max(float(row["return"]) for row in rows if row["stage"] == stage)
        (told,) = [line for line in done[0].stderr.splitlines() if line.startswith(f"{stage}: done after")]
        assert f", return {best:.4g}" in told


def test_the_run_folder_is_complete(run):
    assert run.status == "finished"
    assert run.info["command"].startswith(
        "python -m cesma_sb3 run spread-3 --seed 1 --set expert.total_timesteps=128"
    )
    assert run.experiment.seed == run.info["seed"] == 1
    assert run.experiment.expert.kwargs["batch_size"] == 16
    names = {path.name for path in run.path.iterdir()}
    assert {
        "config.yaml",
        "run.json",
        "report.json",
        "evaluations.csv",
        "expert",
        "students",
        "figure.png",
    } <= names
    assert not atomic.leftovers(run.path)
    assert (run.path / "figure.png").read_bytes().startswith(b"\x89PNG")
    with (run.path / "evaluations.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert {row["stage"] for row in rows} == {"expert", "students"}


def test_evaluating_again_gives_the_same_numbers(run, capsys):
    with pytest.raises(SystemExit) as caught:
        cli.main(["evaluate", str(run.path), "--json"])
    assert caught.value.code == 0
    assert json.loads(capsys.readouterr().out)["return"] == pytest.approx(run.report()["return"])


def test_the_resolved_configuration_runs_again_to_the_same_numbers(run, tmp_path, capsys):
    with pytest.raises(SystemExit) as caught:
        cli.main(["run", str(run.path / "config.yaml"), "--out", str(tmp_path / "again"), "--json"])
    assert caught.value.code == 0
    again = json.loads(capsys.readouterr().out)
    assert again["run_dir"] == str(tmp_path / "again")
    assert again["return"] == pytest.approx(run.report()["return"])


def test_out_that_holds_something_is_refused_before_training(run, capsys):
    with pytest.raises(SystemExit) as caught:
        cli.main(["run", "spread-3-scripted", "--out", str(run.path)])
    assert caught.value.code == 2
    assert "holds something already" in capsys.readouterr().err
