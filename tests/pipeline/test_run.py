"""`run` from a name to a run folder, with tiny budgets."""

import csv
import json

import numpy as np
import pytest
from safetensors.torch import load_file
from stable_baselines3 import DQN

import cesma_sb3
from cesma_sb3.algorithms import ExpectedDDPG
from cesma_sb3.errors import ConfigError, ExpertError, StorageError
from cesma_sb3.training.evaluate_run import evaluate_run
from cesma_sb3.training.evaluator import Seeds
from tests.shared_runs import RUNS

NAME, VALUES = RUNS["trained"]
TINY = {key: value for key, value in VALUES.items() if key != "seed"}


@pytest.fixture(scope="module")
def result(tmp_path_factory):
    return cesma_sb3.run(NAME, out=tmp_path_factory.mktemp("runs") / "run", **VALUES)


def test_the_report_says_what_was_reached_and_what_it_cost(result):
    report = result.report
    assert report == json.loads((result.run_dir / "report.json").read_text())
    for key in ("return", "normalized"):
        assert set(report[key]) == {"expert", "students", "random", "reference"}
    assert report["normalized"]["random"] == 0
    assert report["normalized"]["reference"] == 1
    assert report["env_samples"] == {"expert": 600, "decentralize": 640}
    assert set(report["seconds"]) == {"expert", "decentralize"}
    assert -80 < report["return"]["random"] < report["return"]["reference"] < -5
    assert report["seed"] == 3


def test_the_run_folder_holds_everything(result):
    names = {str(path.relative_to(result.run_dir)) for path in result.run_dir.rglob("*") if path.is_file()}
    assert {
        "config.yaml",
        "run.json",
        "report.json",
        "figure.png",
        "evaluations.csv",
        "episodes.json",
        "expert/policy.safetensors",
        "expert/model.zip",
        "students/team.safetensors",
        "students/team.json",
        "logs/expert/progress.csv",
        "logs/students/progress.csv",
    } <= names
    assert any("events.out.tfevents" in name for name in names)
    with (result.run_dir / "evaluations.csv").open() as file:
        rows = list(csv.DictReader(file))
    samples = [int(row["env_samples"]) for row in rows]
    assert samples == sorted(samples)
    assert samples[-1] == 600 + 640
    assert {row["stage"] for row in rows} == {"expert", "students"}
    figure = (result.run_dir / "figure.png").read_bytes()
    assert figure.startswith(b"\x89PNG")


def test_a_run_folder_measured_again_gives_its_own_numbers(result):
    again = evaluate_run(result.run_dir)
    for key in ("return", "normalized", "std"):
        assert again[key] == pytest.approx(result.report[key])
    other = evaluate_run(result.run_dir, seed=9, episodes=12)
    assert other["episodes"] == 12
    assert other["return"] != again["return"]


def test_the_zip_is_one_that_sb3_loads(result):
    model = ExpectedDDPG.load(result.run_dir / "expert" / "model.zip")
    observations = np.random.default_rng(0).normal(size=(10, 54)).astype(np.float32)
    assert np.array_equal(
        model.predict(observations, deterministic=True)[0], result.expert.labels(observations)
    )
    weights = load_file(result.run_dir / "expert" / "policy.safetensors")
    whole = model.policy.state_dict()
    assert weights.keys() <= whole.keys()
    # Tensors that several parts share are there once.
    assert {whole[key].data_ptr() for key in weights} == {tensor.data_ptr() for tensor in whole.values()}


def test_one_agent_acts_alone(result):
    agent = result.students.agent(1)
    action, _ = agent.predict(np.zeros(18, dtype=np.float32))
    assert action in range(5)


def test_same_seed_same_report(result, shared_run, tmp_path):
    again = json.loads((shared_run("trained") / "report.json").read_text())
    for key in ("return", "normalized", "std", "agent_return", "env_samples"):
        assert again[key] == result.report[key]
    other = cesma_sb3.run(NAME, out=tmp_path / "other", **{**VALUES, "seed": 4})
    assert other.report["return"] != result.report["return"]


def test_seeds_differ_from_each_other_and_by_seed():
    first, second = Seeds.of(0), Seeds.of(1)
    assert len({*vars(first).values(), *vars(second).values()}) == 14
    # A seed that is new comes last: the others stay, and with them the numbers of all runs.
    assert list(vars(first).values())[:6] == (np.random.SeedSequence(0).generate_state(6) % 2**31).tolist()
    assert first == Seeds.of(0)


@pytest.mark.parametrize("name", ["spread-3-hetero", "spread-6-hetero-scripted", "spread-3-mlp"])
def test_registered_variants_run(name, tmp_path):
    budgets = {key: value for key, value in TINY.items() if key != "expert" or "scripted" not in name}
    report = cesma_sb3.run(name, out=tmp_path / "run", **budgets).report
    assert np.isfinite(report["return"]["students"])


def test_an_sb3_expert_in_the_product_space(tmp_path):
    expert = {
        "total_timesteps": 600,
        "n_envs": 8,
        "kwargs": {"learning_starts": 100, "train_freq": [2, "step"]},
        "policy_kwargs": {"activation_fn": "Tanh"},
    }
    result = cesma_sb3.run("spread-3-dqn", out=tmp_path / "run", **{**TINY, "expert": expert})
    assert isinstance(DQN.load(result.run_dir / "expert" / "model.zip"), DQN)
    assert evaluate_run(result.run_dir)["return"] == pytest.approx(result.report["return"])


def test_soft_labels_of_an_sb3_expert(tmp_path):
    expert = {"total_timesteps": 640, "n_envs": 8, "kwargs": {"n_steps": 20, "batch_size": 80}}
    dagger = {**TINY["dagger"], "labels": "soft", "beta": {"schedule": "linear", "per_agent": True}}
    report = cesma_sb3.run(
        "spread-3-ppo", **{**TINY, "out": tmp_path / "run", "expert": expert, "dagger": dagger}
    ).report
    assert np.isfinite(report["return"]["students"])


def test_any_pettingzoo_environment_in_processes(tmp_path):
    path = tmp_path / "adversary.yaml"
    path.write_text(
        "env: {id: 'mpe2.simple_adversary_v3:parallel_env', team_reward: sum, processes: 1,\n"
        "      wrappers: [{name: pad_observations_v0}]}\n"
        "expert: {algorithm: PPO, total_timesteps: 128, n_envs: 2, kwargs: {n_steps: 32, batch_size: 32}}\n"
        "dagger: {total_timesteps: 128, n_envs: 2, batch_size: 32}\n"
        "evaluation: {n_final_episodes: 4, n_eval_episodes: 2, eval_freq: 100, n_envs: 2}\n"
    )
    result = cesma_sb3.run(path, out=tmp_path / "run")
    assert result.report["normalized"]["students"] != result.report["normalized"]["students"], (
        "no reference: NaN"
    )
    assert json.loads((result.run_dir / "report.json").read_text())["normalized"]["students"] is None
    assert "reference" not in result.report["return"]


def test_students_stop_once_they_match(tmp_path):
    dagger = {
        "total_timesteps": 50_000,
        "early_stopping_evaluations": 2,
        "early_stopping_tolerance": 2.0,
        "batch_size": 32,
    }
    report = cesma_sb3.run(
        "spread-3-scripted", out=tmp_path / "run", dagger=dagger, evaluation=TINY["evaluation"]
    ).report
    assert report["stopped_early"]
    assert report["env_samples"]["decentralize"] < 2_000


def test_the_best_weights_are_kept_unless_the_last_are_wanted(tmp_path):
    def last_and_final(keep):
        changes = {**TINY, "dagger": {**TINY["dagger"], "keep": keep, "learning_rate": 0.5}}
        changes["evaluation"] = {**TINY["evaluation"], "n_final_episodes": 8, "eval_freq": 50}
        result = cesma_sb3.run(
            "spread-3-scripted", out=tmp_path / keep, **{k: changes[k] for k in ("dagger", "evaluation")}
        )
        with (result.run_dir / "evaluations.csv").open() as file:
            return [
                float(row["return"]) for row in csv.DictReader(file) if row["stage"] == "students"
            ], result

    curve, result = last_and_final("best")
    assert max(curve) > curve[-1], "a learning rate of 0.5 forgets"
    kept = evaluate_run(result.run_dir)["return"]["students"]
    _, result = last_and_final("last")
    assert evaluate_run(result.run_dir)["return"]["students"] < kept


def test_bad_input_leaves_no_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match="did you mean 'n_envs'"):
        cesma_sb3.run("spread-3", **{"expert.n_env": 3})
    assert not (tmp_path / "runs").exists()


def test_a_run_that_is_refused_says_why_and_leaves_nothing(tmp_path):
    path = tmp_path / "no-script.yaml"
    path.write_text(
        "env: {id: 'mpe2.simple_spread_v3:parallel_env', team_reward: mean}\n"
        "expert: {algorithm: scripted, total_timesteps: 0}\ndagger: {total_timesteps: 100}\n"
    )
    with pytest.raises(ExpertError, match=r"no scripted expert for env\.id"):
        cesma_sb3.run(path, out=tmp_path / "run")
    assert not (tmp_path / "run").exists()
    with pytest.raises(StorageError):
        evaluate_run(tmp_path / "run")


def test_a_scripted_expert_may_keep_other_distances_than_the_reference(tmp_path):
    short = {
        "env.kwargs.n_agents": 6,
        "dagger": {"total_timesteps": 16, "n_envs": 2, "batch_size": 8},
        "evaluation": {"n_final_episodes": 16, "n_eval_episodes": 2, "eval_freq": 16, "n_envs": 16},
    }
    found = {}
    for name, values in (("same", {}), ("other", {"collision_cost": 1.0}), ("wider", {"uncertainty": 0.2})):
        result = cesma_sb3.run(
            "spread-3-scripted", out=tmp_path / name, overrides={**short, "expert.kwargs": values}
        )
        found[name] = result.report["return"]
        assert evaluate_run(result.run_dir)["return"] == found[name]
    assert found["same"]["expert"] == found["same"]["reference"]  # which looks out for nobody there
    assert found["other"]["expert"] > found["other"]["reference"] == found["same"]["reference"]
    assert found["wider"]["expert"] == found["wider"]["reference"]  # nobody, at whatever distance


def test_the_experts_learning_rate_falls(tmp_path):
    falling = {**TINY, "expert": {**TINY["expert"], "learning_rate_final": 0.25}}
    result = cesma_sb3.run("spread-3", out=tmp_path / "run", **falling)
    start = 4e-3  # registered
    with (result.run_dir / "logs" / "expert" / "progress.csv").open() as file:
        rates = [
            float(row["train/learning_rate"]) for row in csv.DictReader(file) if row["train/learning_rate"]
        ]
    assert rates == sorted(rates, reverse=True)
    assert rates[-1] == pytest.approx(start / 4, rel=0.15)
