"""A run that is interrupted and goes on ends as one that never was."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

import cesma_sb3
from cesma_sb3.analysis.run_data import read_run
from cesma_sb3.config.registry import load_experiment
from cesma_sb3.config.schema import CheckpointConfig
from cesma_sb3.errors import ConfigError, EnvError, ExpertError
from cesma_sb3.multirun.sweep import sweep
from cesma_sb3.policies.stateful_actor import MemoryActor
from cesma_sb3.training.checkpoint import StageCheckpoints
from cesma_sb3.training.run_folder import RunFolder
from tests.faults.interrupted import Cut, results, run_in_pieces

EVALUATION = {"n_final_episodes": 8, "n_eval_episodes": 4, "eval_freq": 128, "n_envs": 4}
SMALL = {
    "checkpoint.save_freq": 160,
    "evaluation": EVALUATION,
    "dagger.n_envs": 8,
    "dagger.batch_size": 32,
    "dagger.total_timesteps": 400,
    "students.hidden_sizes": [16],
}
EXPERT = {
    "expert.n_envs": 8,
    "expert.total_timesteps": 500,
    "expert.kwargs.learning_starts": 64,
    "expert.kwargs.batch_size": 32,
    "expert.kwargs.gradient_steps": 1,
}
BASELINE = {"checkpoint.save_freq": 160, "evaluation": EVALUATION}
ON_POLICY = {
    "expert.n_envs": 8,
    "expert.total_timesteps": 600,
    "expert.kwargs.n_steps": 24,
    "expert.kwargs.batch_size": 64,
}
REMEMBERS = {"students.network": "recurrent", "students.hidden_sizes": [16], "dagger.batch_size": 4}
TUNING = {"total_timesteps": 600, "n_envs": 8, "kwargs": {"n_steps": 24, "batch_size": 64}}
TUNED = {"fine_tuning": TUNING}
NARROW = {"expert.policy_kwargs.hidden_sizes": [16]}
RUNS = {
    "gumbel-softmax": ("spread-3", {**SMALL, **EXPERT, **NARROW}),
    "ddpg": ("spread-3-continuous", {**SMALL, **EXPERT}),
    "ppo": ("spread-3-ppo", {**SMALL, **ON_POLICY}),
    "random search": (
        "spread-3-ppo",
        {
            **SMALL,
            "expert.algorithm": "ARS",
            "expert.policy": "LinearPolicy",
            "expert.action_view": "product",
            "expert.n_envs": 8,
            "expert.total_timesteps": 9000,
            "expert.learning_rate_final": 0.1,
            "expert.kwargs": {"n_delta": 2, "learning_rate": 0.2, "delta_std": 0.3},
            "expert.policy_kwargs": {},
            "checkpoint.save_freq": 3000,
        },
    ),
    "noise of the state": (
        "spread-3-continuous",
        {
            **SMALL,
            **EXPERT,
            "expert.algorithm": "SAC",
            "expert.policy": "MlpPolicy",
            "expert.kwargs": {"use_sde": True, "learning_starts": 64, "batch_size": 32, "train_freq": 4},
            "expert.policy_kwargs": {"net_arch": [16]},
        },
    ),
    "noise of the state, on policy": (
        "spread-3-continuous",
        {
            **SMALL,
            "expert.algorithm": "PPO",
            "expert.policy": "MlpPolicy",
            "expert.n_envs": 8,
            "expert.total_timesteps": 600,
            "expert.kwargs": {"use_sde": True, "n_steps": 24, "batch_size": 64},
            "expert.policy_kwargs": {"net_arch": [16]},
        },
    ),
    "noisy values": (
        "spread-3-sum-of-q",
        {**SMALL, **EXPERT, **NARROW, "expert.kwargs.exploration": "noise"},
    ),
    "a baseline": ("spread-3-qmix", {**BASELINE, **EXPERT, **NARROW}),
    "a baseline on policy": ("spread-3-mappo", {**BASELINE, **ON_POLICY, **NARROW}),
    "messages": ("speaker-listener", {**SMALL, **EXPERT, **NARROW}),
    "a full dataset": (
        "spread-3-scripted",
        {
            **SMALL,
            "dagger.capacity": 150,
            "dagger.when_full": "reservoir",
            "dagger.class_weights": "inverse-frequency",
            "dagger.beta.schedule": "exponential",
            "dagger.max_grad_norm": 1.0,
        },
    ),
    "cloning": ("spread-3-scripted", {**SMALL, "dagger.algorithm": "bc"}),
    "a mixture": (
        "spread-3-scripted",
        {**SMALL, "dagger.algorithm": "searn", "dagger.algorithm_kwargs": {"n_iterations": 4}},
    ),
    "a loss that remembers": (
        "spread-3-scripted",
        {**SMALL, "dagger.loss_class": "tests.faults.test_kept_objects:Weighing"},
    ),
    "a team for each step": (
        "spread-3-scripted",
        {**SMALL, "dagger.algorithm": "forward-training", "env.kwargs.max_cycles": 6},
    ),
    "memory": ("spread-3-scripted", {**SMALL, **REMEMBERS}),
    "messages that are remembered": ("speaker-listener-scripted", {**SMALL, **REMEMBERS, **TUNED}),
    "fine-tuning": ("spread-3-scripted", {**SMALL, **TUNED}),
    "battles": (
        "smax-3m",
        {**SMALL, **ON_POLICY, "expert.policy_kwargs.net_arch": [16], "dagger.batch_size": 4, **TUNED},
    ),
    "an expert that can be followed": (
        "spread-3-ppo",
        {**SMALL, **ON_POLICY, "expert.information_cost": {"weight": 0.5}, "expert.keep": "last"},
    ),
}


class Pacing:
    """An expert with a memory: three steps to one side, then three to the other."""

    def __init__(self, team):
        self.team = team

    def labels(self, observations, masks=None):
        return np.zeros((len(observations), 3), dtype=np.int64)

    def actor(self):
        def paced(observations, state, starts, masks):
            count = 0 if state is None else np.where(starts, 0, state[0])
            actions = self.labels(observations) + np.reshape(1 + count // 3 % 2, (-1, 1))
            return actions, (count + np.ones(len(observations), dtype=np.int64),)

        return MemoryActor(paced)


QUICK = (
    "gumbel-softmax",
    "ppo",
    "messages",
    "a full dataset",
    "a mixture",
    "memory",
    "a loss that remembers",
)


@pytest.mark.parametrize(
    "kind", [kind if kind in QUICK else pytest.param(kind, marks=pytest.mark.slow) for kind in RUNS]
)
def test_pieces_make_the_same_run(kind, tmp_path):
    name, values = RUNS[kind]
    whole, pieces = tmp_path / "whole", tmp_path / "pieces"
    cesma_sb3.run(name, out=whole, **{**values, "checkpoint.save_freq": None, "checkpoint.minutes": None})
    cuts = run_in_pieces(name, pieces, **values)

    assert sum("is under way" in cut for cut in cuts) >= 2, cuts
    assert results(whole) == results(pieces)
    reports = [json.loads((run / "report.json").read_text()) for run in (whole, pieces)]
    for report in reports:
        for measured in ("seconds", "processor_seconds"):
            assert report.pop(measured).keys() == report["env_samples"].keys()
    assert reports[0] == reports[1]
    assert RunFolder.open(pieces).status == "finished"
    assert len(RunFolder.open(pieces).info["resumed"]) == len(cuts)
    assert not (pieces / "checkpoints").exists()


FEW = {"expert.total_timesteps": 160}
VISITED = {**SMALL, "dagger.total_timesteps": 0, "dagger.experience": {}, "dagger.samples_per_update": 4}
ROLLOUTS = {"dagger.experience.rollout_timesteps": 160}
BEFORE_THEY_ACT = {
    "off policy": ("spread-3", {**EXPERT, **NARROW, **FEW}),
    "on policy": (
        "spread-3-ppo",
        {**ON_POLICY, **FEW, "expert.kwargs.n_steps": 1, "expert.kwargs.batch_size": 8},
    ),
    "messages": ("speaker-listener", {**EXPERT, **NARROW, **FEW}),
    "memory": (
        "spread-3",
        {
            **EXPERT,
            **NARROW,
            **FEW,
            "env.kwargs.max_cycles": 7,
            "students": {"network": "recurrent", "hidden_sizes": [8]},
            "dagger.batch_size": 4,
        },
    ),
    "and then they act": ("spread-3", {**EXPERT, **NARROW, **FEW, "dagger.total_timesteps": 200}),
    "of a full ring": (
        "spread-3",
        {**EXPERT, **NARROW, **FEW, "dagger.capacity": 100, "dagger.experience.n_updates": 40},
    ),
    "of the expert's rollouts": ("spread-3-scripted", ROLLOUTS),
    "and are tuned": (
        "spread-3-scripted",
        {
            **ROLLOUTS,
            **REMEMBERS,
            "expert.algorithm": "tests.faults.test_resume:Pacing",
            "env.kwargs.max_cycles": 7,
            "fine_tuning": {"total_timesteps": 100, "n_envs": 4, "kwargs": {"n_steps": 5, "batch_size": 20}},
        },
    ),
}


@pytest.mark.parametrize("kind", BEFORE_THEY_ACT)
def test_pieces_of_what_students_learn_before_they_act(kind, tmp_path):
    name, values = BEFORE_THEY_ACT[kind]
    whole, pieces = tmp_path / "whole", tmp_path / "pieces"
    cesma_sb3.run(name, out=whole, **{**VISITED, **values})
    cuts = run_in_pieces(name, pieces, every=11, **{**VISITED, **values})

    stages = ["students"] if name.endswith("scripted") else ["expert", "students"]
    assert {f"{stage} {what}" for stage in stages for what in ("is under way", "ended")} <= set(cuts)
    assert cuts.count("students is under way") >= 2
    assert results(whole) == results(pieces)
    reports = [json.loads((run / "report.json").read_text()) for run in (whole, pieces)]
    for report in reports:
        del report["seconds"], report["processor_seconds"]
    assert reports[0] == reports[1]
    assert reports[0]["updates"]["decentralize"] >= 24
    assert read_run(whole).losses == read_run(pieces).losses


def test_what_is_learned_before_the_first_timestep_counts_as_timesteps_do(tmp_path):
    """168 samples, 4 for each gradient step; then 104 timesteps."""
    name, values = BEFORE_THEY_ACT["and then they act"]
    values = {**VISITED, **values, "dagger.total_timesteps": 104, "checkpoint.minutes": None}
    whole, pieces = tmp_path / "whole", tmp_path / "pieces"
    cesma_sb3.run(name, out=whole, **values)
    steps, write = [], StageCheckpoints.save

    def noted(self, done, *, ended=False):
        steps.append((self.name, done))
        write(self, done, ended=ended)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(StageCheckpoints, "save", noted)
        cuts = run_in_pieces(name, pieces, **{**values, "checkpoint.save_freq": 50})
    assert [done for stage, done in steps if stage == "students"] == [52, 104, 156, 208, 264, 272]
    assert cuts.count("students is under way") == 5
    assert results(whole) == results(pieces)


def test_where_the_environment_cannot_be_kept_episodes_begin_anew(tmp_path):
    values = {
        **SMALL,
        **ON_POLICY,
        "env": {
            "id": "mpe2.simple_spread_v3:parallel_env",
            "kwargs": {"max_cycles": 25},
            "team_reward": "mean",
        },
        "students.network": "feed-forward",
    }
    cuts = run_in_pieces("spread-3-ppo", tmp_path / "run", **values)
    assert len(cuts) >= 6
    report = json.loads((tmp_path / "run" / "report.json").read_text())
    assert report["env_samples"] == {"expert": 768, "decentralize": 400}


def test_what_was_logged_is_read_as_one_log(tmp_path):
    long = {**SMALL, "dagger.total_timesteps": 2400, "checkpoint.save_freq": 1000}
    logs = []
    for run in (tmp_path / "whole", tmp_path / "pieces"):
        if run.name == "whole":
            cesma_sb3.run("spread-3-scripted", out=run, **long)
        else:
            run_in_pieces("spread-3-scripted", run, **long)
        logs.append(read_run(run).losses)
    assert len(list((tmp_path / "pieces" / "logs").glob("students*"))) >= 3
    assert logs[0] == logs[1]
    assert set(logs[0]) == {"agent_0", "agent_1", "agent_2"}


def interrupted(tmp_path, **values):
    """The folder of a run that was cut off."""

    save_if_due = StageCheckpoints.save_if_due

    def cut(self, timesteps):
        save_if_due(self, timesteps)
        if timesteps >= 200:
            raise Cut

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(StageCheckpoints, "save_if_due", cut)
        with pytest.raises(Cut):
            cesma_sb3.run("spread-3-scripted", out=tmp_path / "cut", **{**SMALL, **values})
    return tmp_path / "cut"


def test_only_the_run_that_is_meant_goes_on(tmp_path):
    out = interrupted(tmp_path)
    with pytest.raises(ConfigError, match=r"is of another experiment: seed is 0, not 4"):
        cesma_sb3.run("spread-3-scripted", resume=out, seed=4, **SMALL)
    with pytest.raises(ConfigError, match=r"dagger.learning_rate is 0.002, not 0.1"):
        cesma_sb3.run(resume=out, **{"dagger.learning_rate": 0.1})
    with pytest.raises(ConfigError, match="expected one of them"):
        cesma_sb3.run(resume=out, out=tmp_path / "other")
    with pytest.raises(ConfigError, match="expected the name of an experiment, or a run to resume"):
        cesma_sb3.run()
    # A checkpoint more often changes nothing.
    result = cesma_sb3.run("spread-3-scripted", resume=out, **{**SMALL, "checkpoint.save_freq": 80})
    assert result.run_dir == out
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    with pytest.raises(ConfigError, match="this run has finished"):
        cesma_sb3.run(resume=out)
    assert {path: path.read_bytes() for path in out.rglob("*") if path.is_file()} == before


def test_a_sweep_goes_on_with_what_was_interrupted(tmp_path, runs_in_this_process):
    out = tmp_path / "sweep"
    assert sweep(["spread-3-scripted"], seeds=1, out=out, **SMALL).ran == 1
    (run,) = out.glob("runs/*/seed-0")
    whole = Path(shutil.move(run, tmp_path / "whole"))
    shutil.move(interrupted(tmp_path), run)
    assert sweep(["spread-3-scripted"], seeds=1, out=out, **SMALL).ran == 1
    assert len(RunFolder.open(run).info["resumed"]) == 1
    assert results(run) == results(whole)


def test_a_failed_run_goes_on_too(tmp_path):
    whole = cesma_sb3.run("spread-3-scripted", out=tmp_path / "whole", **SMALL).run_dir
    out, save_if_due = tmp_path / "run", StageCheckpoints.save_if_due

    def visit_and_fail(self, timesteps):
        save_if_due(self, timesteps)
        if timesteps >= 200:
            raise EnvError("environment 3: it broke")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(StageCheckpoints, "save_if_due", visit_and_fail)
        for words in ({"name": "spread-3-scripted", "out": out, **SMALL}, {"resume": out}):
            with pytest.raises(EnvError):
                cesma_sb3.run(**words)
            folder = RunFolder.open(out)
            assert folder.status == "failed"
            assert folder.info["error"] == "EnvError: environment 3: it broke"
    cesma_sb3.run(resume=out)
    assert "error" not in RunFolder.open(out).info
    assert results(out) == results(whole)


def test_a_run_that_is_refused_leaves_nothing_but_what_was_there(tmp_path):
    wrong = {**SMALL, "dagger.labels": "soft", "env.kwargs.continuous_actions": True}  # numbers have none
    with pytest.raises(ExpertError):
        cesma_sb3.run("spread-3-scripted", out=tmp_path / "new" / "run", **wrong)
    assert list(tmp_path.iterdir()) == []


def test_the_schedule_does_not_make_another_run():
    often = load_experiment("spread-3", {"checkpoint": {"minutes": None, "save_freq": 100}})
    assert often.checkpoint == CheckpointConfig(minutes=None, save_freq=100)
    assert often.fingerprint() == load_experiment("spread-3").fingerprint()
