"""What a run will write is written once before it trains: what cannot be is one line, and no work is lost."""

import json
import threading

import numpy as np
import pytest
import torch as th
from stable_baselines3 import PPO
from stable_baselines3.common.policies import ActorCriticPolicy
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from torch import nn

import cesma_sb3
from cesma_sb3.config.registry import make_experiment
from cesma_sb3.deploy.export import export
from cesma_sb3.envs import make_vec_env
from cesma_sb3.envs.joint_env import JointEnv
from cesma_sb3.errors import CesmaError, StorageError
from cesma_sb3.training.evaluate_run import evaluate_run
from cesma_sb3.training.run import run_experiment, run_expert
from tests.envs_for_tests import MatchingGame

TINY = {
    "name": "tiny",
    "env": {"id": "tests.envs_for_tests:MatchingGame"},
    "expert": {
        "algorithm": "PPO",
        "total_timesteps": 16,
        "n_envs": 2,
        "kwargs": {"n_steps": 8, "batch_size": 16, "n_epochs": 1},
    },
    "dagger": {"total_timesteps": 16, "n_envs": 2, "batch_size": 8},
    "students": {"hidden_sizes": [4]},
    "evaluation": {"n_final_episodes": 2, "n_eval_episodes": 2, "eval_freq": 16, "n_envs": 2},
}


class Extractor(BaseFeaturesExtractor):
    """Shared by actor and critic, as SB3's are by default."""

    def __init__(self, observation_space):
        super().__init__(observation_space, 3)
        self.layer = nn.Linear(observation_space.shape[0], 3)

    def forward(self, observations):
        return self.layer(observations)


class SharingPolicy(ActorCriticPolicy):
    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs, features_extractor_class=Extractor)


class CountingPolicy(ActorCriticPolicy):
    """Has state that no file of weights holds."""

    def get_extra_state(self):
        return {"seen": 3}

    def set_extra_state(self, state):
        pass


class LockedPPO(PPO):
    """Has an attribute that cannot be pickled."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.guard = threading.Lock()


class Counted(nn.Module):
    """A student whose state is more than tensors."""

    def __init__(self, n_inputs, n_outputs):
        super().__init__()
        self.layer = nn.Linear(n_inputs, n_outputs)

    def forward(self, x):
        return self.layer(x)

    def get_extra_state(self):
        return "seen"

    def set_extra_state(self, state):
        pass


class Tied(nn.Module):
    """A student whose two layers are one."""

    def __init__(self, n_inputs, n_outputs):
        super().__init__()
        self.first = nn.Linear(n_inputs, n_inputs)
        self.second = self.first
        self.last = nn.Linear(n_inputs, n_outputs)

    def forward(self, x):
        return self.last(self.second(self.first(x).relu()).relu())


class OddlyNamed(MatchingGame):
    NAMES = ("team/0", "Agent", "agent", "x" * 300, "..", "CON")

    def __init__(self):
        super().__init__(len(self.NAMES))
        self.possible_agents = list(self.NAMES)


def untrained(**overrides):
    return make_experiment(TINY, overrides, called="tiny")


@pytest.fixture
def nothing_trains(monkeypatch):
    def fail(*args, **kwargs):
        raise AssertionError("it trains")

    monkeypatch.setattr("cesma_sb3.training.stages.learn", fail)
    monkeypatch.setattr("cesma_sb3.imitation.MultiAgentDAggerTrainer.train", fail)


HERE = "tests.pipeline.test_dry_run"
OWN = {"students.network": "custom", "students.module": f"{HERE}:Counted", "students.hidden_sizes": []}
TUNED = {"fine_tuning": {"total_timesteps": 16, "n_envs": 2}}


@pytest.mark.parametrize(
    ("overrides", "told"),
    [
        (
            {"expert.policy": f"{HERE}:CountingPolicy"},
            "CountingPolicy: _extra_state of its state_dict(): dict, expected a tensor",
        ),
        ({"expert.algorithm": f"{HERE}:LockedPPO"}, "expert/model.zip: cannot be written: TypeError: cannot"),
        (OWN, "_extra_state of its state_dict(): str, expected a tensor"),
        ({**OWN, "dagger.algorithm": "smile"}, "_extra_state of its state_dict(): str, expected a tensor"),
        (
            {**TUNED, "dagger.algorithm": "searn", "dagger.algorithm_kwargs": {"n_iterations": 2}},
            "fine_tuning: these students are an ensemble of teams, expected one (dagger or bc)",
        ),
        (
            {"students.network": "recurrent", "dagger.algorithm": "smile"},
            "students have no memory; expected dagger",
        ),
    ],
    ids=str,
)
@pytest.mark.usefixtures("nothing_trains")
def test_what_could_not_be_written_is_refused_before_anything_trains(overrides, told, tmp_path):
    with pytest.raises(CesmaError) as caught:
        run_experiment(untrained(**overrides), out=tmp_path / "run")
    assert told in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "run").exists()


@pytest.mark.usefixtures("nothing_trains")
def test_so_is_an_expert_that_nobody_imitates_and_one_that_was_handed_over(tmp_path):
    with pytest.raises(StorageError, match="CountingPolicy: _extra_state"):
        run_expert(untrained(**{"expert.policy": f"{HERE}:CountingPolicy"}), out=tmp_path / "run")
    model = LockedPPO("MlpPolicy", JointEnv(MatchingGame()), n_steps=8, batch_size=8, device="cpu")
    with pytest.raises(StorageError, match=r"expert: it cannot be saved with the run: cannot pickle"):
        cesma_sb3.decentralize(model, MatchingGame, total_timesteps=16, out=tmp_path / "other")


def test_an_expert_is_loaded_without_environments_of_its_own(tmp_path, monkeypatch):
    result = run_experiment(untrained(), out=tmp_path / "run")
    made = []

    def make(*args, **kwargs):
        made.append(kwargs["n_envs"])
        return make_vec_env(*args, **kwargs)

    monkeypatch.setattr("cesma_sb3.training.evaluator.make_vec_env", make)
    assert evaluate_run(result.run_dir)["return"] == result.report["return"]
    assert made == [2]  # the evaluator's


def test_what_is_shared_comes_back(tmp_path):
    """A features extractor of the expert, layers of the students: the numbers are those of the report."""
    shared = {**OWN, "expert.policy": f"{HERE}:SharingPolicy", "students.module": f"{HERE}:Tied"}
    result = run_experiment(untrained(**shared), out=tmp_path / "run")
    assert evaluate_run(result.run_dir)["return"] == result.report["return"]


def test_it_leaves_no_trace(tmp_path, monkeypatch):
    """The same files and numbers as without a dry run."""
    ran = []
    for name in ("with", "without"):
        if name == "without":
            monkeypatch.setattr("cesma_sb3.training.build.check_results", lambda *args: None)
        result = run_experiment(untrained(), out=tmp_path / name)
        ran.append(result)
    files = [sorted(p.name for p in each.run_dir.rglob("*") if "tfevents" not in p.name) for each in ran]
    assert files[0] == files[1]
    assert ran[0].report["return"] == ran[1].report["return"]
    weights = [each.students.state_dict() for each in ran]
    assert all(th.equal(weights[0][name], weights[1][name]) for name in weights[0])


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of torch.jit
def test_agents_may_have_any_name(tmp_path):
    """Their files have names that a file can have; the JSON beside each says whose it is."""
    values = {"env.id": f"{HERE}:OddlyNamed", "expert.deterministic": True}
    result = run_experiment(untrained(**values), out=tmp_path / "run")
    folder = export(result.run_dir, format="torchscript")
    told = [json.loads(path.read_text()) for path in folder.glob("*.json")]
    assert sorted(each["agent"] for each in told) == sorted(OddlyNamed.NAMES)
    assert len({each["file"].casefold() for each in told}) == len(OddlyNamed.NAMES)
    observation = th.eye(3)
    for each in told:
        action = th.jit.load(folder / each["file"])(observation)[0]
        agent = result.students.agent(each["agent"])
        own = [agent.predict(cue, deterministic=True)[0] for cue in np.eye(3, dtype=np.float32)]
        assert np.array_equal(np.ravel(action), np.ravel(own))
