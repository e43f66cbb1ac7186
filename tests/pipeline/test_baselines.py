"""`dagger: null`: a team that learns by itself goes the same way as one that imitates."""

import csv
import json

import numpy as np
import pytest

import cesma_sb3
from cesma_sb3.errors import ExpertError
from cesma_sb3.policies import load_team
from cesma_sb3.training.evaluate_run import evaluate_run

TINY = {
    "expert": {
        "algorithm": "PPO",
        "policy": "TeamPolicy",
        "n_envs": 8,
        "total_timesteps": 400,
        "kwargs": {"n_steps": 25, "batch_size": 200},
        "policy_kwargs": {"hidden_sizes": [16, 16], "actor_visibility": "own"},
    },
    "dagger": None,
    "evaluation": {"n_final_episodes": 20, "n_eval_episodes": 8, "eval_freq": 200, "n_envs": 8},
}


@pytest.fixture(scope="module")
def result(tmp_path_factory):
    return cesma_sb3.run("spread-3", seed=3, out=tmp_path_factory.mktemp("runs") / "run", **TINY)


def test_the_report_has_a_team_and_no_expert(result):
    assert result.expert is None
    report = json.loads((result.run_dir / "report.json").read_text())
    assert set(report["return"]) == {"students", "random", "reference"}
    assert report["env_samples"] == {"students": 400}
    with (result.run_dir / "evaluations.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert {row["stage"] for row in rows} == {"students"}
    assert [int(row["env_samples"]) for row in rows] == [0, 200, 400]


def test_the_team_is_saved_as_students_are(result):
    again = load_team(result.run_dir / "students")
    observations = np.random.default_rng(0).normal(size=(5, again.team.observation_size)).astype(np.float32)
    np.testing.assert_array_equal(
        again.predict(observations, deterministic=True)[0],
        result.students.predict(observations, deterministic=True)[0],
    )
    report = evaluate_run(result.run_dir)
    assert report["return"] == pytest.approx(result.report["return"])


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"policy_kwargs": {"actor_visibility": "joint"}}, "actor_visibility: own"),
        ({"policy": "MlpPolicy", "policy_kwargs": {}}, "PPO has no actors of each agent's own"),
    ],
)
def test_actors_that_see_more_are_refused_before_training(tmp_path, change, problem):
    expert = {**TINY["expert"], "total_timesteps": 10**9, **change}
    with pytest.raises(ExpertError, match=problem):
        cesma_sb3.run("spread-3", out=tmp_path / "run", **{**TINY, "expert": expert})
