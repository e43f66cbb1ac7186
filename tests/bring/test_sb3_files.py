"""SB3's files are read for acting alone: what a training needed is left out, and need not be readable."""

from __future__ import annotations

import base64
import copy
import json
import pickle
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sb3_contrib
import stable_baselines3
import torch as th
from stable_baselines3 import A2C, DQN, PPO, SAC
from stable_baselines3.common.policies import ActorCriticPolicy, BasePolicy
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor

import cesma_sb3
from cesma_sb3 import algorithms
from cesma_sb3.envs.joint_vec_env import joint_vec_env
from cesma_sb3.errors import CesmaError, StorageError, UntrustedError
from cesma_sb3.experts import adapt_expert
from cesma_sb3.experts.adapt import known_spaces
from cesma_sb3.experts.loading import load_sb3, load_torchscript, resolve_file
from cesma_sb3.training.evaluate_run import evaluate_run
from tests.bring.test_files import ENV, TINY, Explosive
from tests.envs_for_tests import MatchingGame, ReachEnv

LITTLE: dict[str, Any] = {"n_steps": 4, "batch_size": 4}
OFF: dict[str, Any] = {"buffer_size": 10, "policy_kwargs": {"net_arch": [4]}}
ALGORITHMS = {
    ("A2C", "joint"): {},
    ("ARS", "product"): {},
    ("CrossQ", "relaxed"): OFF,
    ("DDPG", "relaxed"): OFF,
    ("DQN", "product"): OFF,
    ("ExpectedDDPG", "joint"): {"buffer_size": 10},
    ("FactoredDQN", "joint"): {"buffer_size": 10, "policy_kwargs": {"hidden_sizes": [4]}},
    ("GumbelSoftmaxDDPG", "joint"): {"buffer_size": 10},
    ("MaskablePPO", "product"): LITTLE,
    ("PPO", "joint"): {
        **LITTLE,
        "policy_kwargs": {"activation_fn": th.nn.ReLU, "share_features_extractor": False},
    },
    ("QRDQN", "product"): {"buffer_size": 10, "policy_kwargs": {"net_arch": [4], "n_quantiles": 5}},
    ("RecurrentPPO", "joint"): {**LITTLE, "policy_kwargs": {"lstm_hidden_size": 4}},
    ("SAC", "relaxed"): {**OFF, "use_sde": True},
    ("TD3", "relaxed"): OFF,
    ("TQC", "relaxed"): OFF,
    ("TRPO", "joint"): LITTLE,
    ("TeamPPO", "joint"): LITTLE,
}
POLICIES = {"RecurrentPPO": "MlpLstmPolicy"}


def untrained(name: str, view: str = "joint", **kwargs: Any) -> Any:
    venv = joint_vec_env(MatchingGame, 2, seed=0, view=view)
    found = [getattr(each, name, None) for each in (algorithms, stable_baselines3, sb3_contrib)]
    algorithm: Any = next((each for each in found if each is not None), None)
    if algorithm is None:
        pytest.skip(f"this sb3-contrib has no {name}")
    more = copy.deepcopy(kwargs)  # SB3 writes into them
    if name in {"ExpectedDDPG", "FactoredDQN", "GumbelSoftmaxDDPG", "TeamPPO"}:
        more = {**more, "policy_kwargs": {"team": venv.team, **more.get("policy_kwargs", {})}}
    return algorithm(POLICIES.get(name, "MlpPolicy"), venv, device="cpu", seed=3, **more)


def observations(n: int = 6) -> np.ndarray:
    return np.random.default_rng(0).normal(size=(20, n)).astype(np.float32)


def rewritten(path: Path, change: Any) -> Path:
    """The file with its data changed."""
    with zipfile.ZipFile(path) as archive:
        content = {name: archive.read(name) for name in archive.namelist()}
    data = json.loads(content["data"])
    change(data)
    content["data"] = json.dumps(data).encode()
    with zipfile.ZipFile(path, "w") as archive:
        for name, written in content.items():
            archive.writestr(name, written)
    return path


def spoil(data: dict[str, Any], *keys: str) -> None:
    """What cannot be read by this Python: a pickle that names a module of another."""
    for key in keys:
        assert ":serialized:" in data[key], key
        data[key][":serialized:"] = base64.b64encode(b"cnumpy._core.gone\nf\n.").decode()


@pytest.mark.parametrize(("name", "view"), ALGORITHMS, ids=lambda value: value)
def test_a_policy_acts_as_the_algorithm_did(name, view, tmp_path):
    model = untrained(name, view, **ALGORITHMS[name, view])
    model.save(tmp_path / "model.zip")
    policy = load_sb3(tmp_path / "model.zip", type(model), trust=True)
    assert isinstance(policy, BasePolicy)
    wanted, _ = model.predict(observations(), deterministic=True)
    np.testing.assert_array_equal(policy.predict(observations(), deterministic=True)[0], wanted)
    np.testing.assert_array_equal(
        adapt_expert(policy, model.env.team).labels(observations()),
        adapt_expert(model, model.env.team).labels(observations()),
    )


def test_nothing_is_unpickled_that_acting_does_not_need(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    model = untrained("SAC", "relaxed", **OFF, learning_rate=lambda progress: progress)
    model.save("sac.zip")
    bomb = base64.b64encode(pickle.dumps(Explosive())).decode()

    def change(data):
        for key, value in data.items():
            needed = {"policy_class", "policy_kwargs", "observation_space", "action_space"}
            if isinstance(value, dict) and ":serialized:" in value and key not in needed:
                value[":serialized:"] = bomb

    load_sb3(rewritten(Path("sac.zip"), change), SAC, trust=True)
    assert not Path("exploded").exists()


@pytest.mark.parametrize(
    "change",
    [
        lambda data: data.update(buffer_size=10**12, optimize_memory_usage=True),
        lambda data: data.update(n_envs=10**9, batch_size=10**12),
        lambda data: spoil(data, "lr_schedule", "replay_buffer_class", "exploration_schedule"),
        lambda data: data.pop("gamma"),
    ],
    ids=["buffer", "environments", "pickles", "missing"],
)
def test_what_a_training_needed_is_left_out(change, tmp_path):
    model = untrained("DQN", "product", **OFF)
    model.save(tmp_path / "dqn.zip")
    policy = load_sb3(rewritten(tmp_path / "dqn.zip", change), DQN, trust=True)
    wanted = model.predict(observations(), deterministic=True)[0]
    np.testing.assert_array_equal(policy.predict(observations(), deterministic=True)[0], wanted)


@pytest.mark.parametrize(
    "keys", [("observation_space",), ("action_space",), ("observation_space", "action_space")]
)
@pytest.mark.parametrize(("name", "view"), [("PPO", "joint"), ("DQN", "product"), ("TD3", "relaxed")])
def test_spaces_that_cannot_be_read_are_the_teams_own(name, view, keys, tmp_path):
    model = untrained(name, view, **ALGORITHMS[name, view])
    model.save(tmp_path / "model.zip")
    path = rewritten(tmp_path / "model.zip", lambda data: spoil(data, *keys))
    with pytest.warns(
        UserWarning, match=rf"its {keys[0].replace('_', ' ')} cannot be read.*which its weights fit"
    ):
        policy = load_sb3(path, type(model), trust=True, known=known_spaces(model.env.team))
    assert policy.action_space == model.action_space
    wanted = model.predict(observations(), deterministic=True)[0]
    np.testing.assert_array_equal(policy.predict(observations(), deterministic=True)[0], wanted)


def test_combinations_are_not_taken_for_choices_where_both_have_as_many_weights(tmp_path):
    venv = joint_vec_env(lambda: MatchingGame(n_cues=2), 2, view="product")  # 2 + 2 logits, or 2 x 2
    model = A2C("MlpPolicy", venv, device="cpu")
    model.save(tmp_path / "model.zip")
    path = rewritten(tmp_path / "model.zip", lambda data: spoil(data, "action_space"))
    with pytest.warns(UserWarning, match="its action space cannot be read"):
        policy = load_sb3(path, A2C, trust=True, known=known_spaces(venv.team))
    assert policy.action_space == venv.view.space


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (
            lambda data: spoil(data, "policy_class"),
            r"cannot be loaded as PPO: its policy is of stable_baselines3",
        ),
        (lambda data: spoil(data, "policy_kwargs"), r"its policy_kwargs cannot be read: No module named"),
        (
            lambda data: spoil(data, "action_space"),
            r"its action space cannot be read .*fit no space of the team's",
        ),
        (
            lambda data: data.update(policy_class=None),
            "cannot be loaded as PPO: .*expected ActorCriticPolicy",
        ),
        (lambda data: data.update(action_space=3), "its action space cannot be read .*int"),
        (lambda data: data.update(policy_kwargs={"net_arch": [5]}), "as ActorCriticPolicy: Error"),
    ],
)
def test_what_a_policy_needs_must_be_readable(change, problem, tmp_path):
    untrained("PPO", **LITTLE, policy_kwargs={"activation_fn": th.nn.ReLU}).save(tmp_path / "ppo.zip")
    with pytest.raises(StorageError, match=problem) as error:
        load_sb3(rewritten(tmp_path / "ppo.zip", change), PPO, trust=True)
    assert "\n" not in str(error.value)


def test_layers_as_older_releases_wrote_them(tmp_path):
    model = untrained("PPO", **LITTLE, policy_kwargs={"net_arch": {"pi": [8], "vf": [4]}})
    model.save(tmp_path / "ppo.zip")
    old = {"net_arch": [{"pi": [8], "vf": [4]}], "device": "cuda"}
    path = rewritten(tmp_path / "ppo.zip", lambda data: data.update(policy_kwargs=old))
    policy = load_sb3(path, PPO, trust=True)
    wanted = model.predict(observations(), deterministic=True)[0]
    np.testing.assert_array_equal(policy.predict(observations(), deterministic=True)[0], wanted)


class Halving(BaseFeaturesExtractor):
    """A features extractor of somebody's own."""

    def __init__(self, space: Any, width: int = 3) -> None:
        super().__init__(space, width)
        self.net = th.nn.Linear(space.shape[0], width)

    def forward(self, seen: th.Tensor) -> th.Tensor:
        return self.net(seen) / 2


def saved_alone(path: Path) -> tuple[Any, Path]:
    own = {"features_extractor_class": Halving, "features_extractor_kwargs": {"width": 5}}
    model = untrained("PPO", **LITTLE, policy_kwargs={"activation_fn": th.nn.ReLU, **own})
    model.policy.save(path)
    return model, path


@pytest.mark.parametrize("saved_by", [PPO, A2C, ActorCriticPolicy], ids=lambda each: each.__name__)
@pytest.mark.parametrize("name", ["policy.zip", "policy.pt", "policy"])
def test_a_policy_that_was_saved_alone(name, saved_by, tmp_path):
    model, path = saved_alone(tmp_path / name)
    with pytest.raises(UntrustedError):
        load_sb3(path, saved_by)
    policy = load_sb3(path, saved_by, trust=True)
    wanted = model.predict(observations(), deterministic=True)[0]
    np.testing.assert_array_equal(policy.predict(observations(), deterministic=True)[0], wanted)


def test_a_policy_of_another_class_and_files_that_hold_none(tmp_path):
    _, path = saved_alone(tmp_path / "policy.pt")
    th.save({"weight": th.zeros(2)}, tmp_path / "weights.pt")
    th.save([1, 2], tmp_path / "list.pt")
    cases = (
        (lambda: load_sb3(path, DQN, trust=True), r"policy\.pt: cannot be loaded as the policy of DQN: "),
        (lambda: load_torchscript(path, trust=True), r"saved alone; expected algorithm=.*PPO"),
        (
            lambda: load_torchscript(tmp_path / "weights.pt", trust=True),
            "holds weights alone, expected a policy",
        ),
        (lambda: load_torchscript(tmp_path / "list.pt", trust=True), "holds a list, expected a policy"),
    )
    for load, problem in cases:
        with pytest.raises(StorageError, match=problem) as error:
            load()
        assert "\n" not in str(error.value)


@pytest.mark.parametrize("what", ["policy", "module"])
def test_a_whole_module_that_torch_saved(what, tmp_path):
    model = untrained("PPO", **LITTLE)
    module = model.policy if what == "policy" else th.nn.Linear(6, 6)
    th.save(module, tmp_path / "whole.pt")
    with pytest.raises(UntrustedError):
        load_torchscript(tmp_path / "whole.pt")
    outputs = "actions" if what == "policy" else "logits"
    experts = [
        adapt_expert(each, model.env.team, outputs=outputs)
        for each in (module, load_torchscript(tmp_path / "whole.pt", trust=True))
    ]
    np.testing.assert_array_equal(*(each.labels(observations()) for each in experts))


def test_a_run_keeps_the_file_and_can_be_measured_again(tmp_path):
    path = tmp_path / "policy"
    untrained("PPO", **LITTLE).policy.save(path)
    result = cesma_sb3.decentralize(
        path, ENV, algorithm=ActorCriticPolicy, trust=True, out=tmp_path / "run", **TINY
    )
    assert (tmp_path / "run" / "expert" / "model.zip").read_bytes() == path.read_bytes()
    assert result.report["parameters"]["expert"]["total"] > 0
    path.unlink()
    assert evaluate_run(result.run_dir)["return"] == result.report["return"]


def test_the_predict_of_a_model_is_kept_as_the_model_is(tmp_path):
    model = untrained("PPO", **LITTLE)
    result = cesma_sb3.decentralize(model.predict, ENV, out=tmp_path / "run", **TINY)
    wanted = model.predict(observations(), deterministic=True)[0]
    np.testing.assert_array_equal(result.expert.labels(observations()), wanted)
    assert evaluate_run(tmp_path / "run")["return"] == result.report["return"]


def test_paths_as_people_type_them(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "12:30").mkdir()
    for name in ("ppo.zip", "12:30/ppo.v2.zip", "bare"):
        (tmp_path / name).touch()
    assert resolve_file("ppo") == Path("ppo.zip")
    assert resolve_file("12:30/ppo.v2") == Path("12:30/ppo.v2.zip")
    assert resolve_file("~/ppo") == tmp_path / "ppo.zip"
    assert resolve_file("~/ppo.zip") == tmp_path / "ppo.zip"
    assert resolve_file("bare") == Path("bare")
    assert resolve_file("~nobody-of-this-name/ppo") == Path("~nobody-of-this-name/ppo")
    assert resolve_file(".") == Path()


@pytest.mark.parametrize(
    "path",
    [r"C:\models\ppo.zip", "C:/models/ppo.zip", "2026-01-01T12:00:00/ppo.zip", "runs:1/ppo", "12:30.zip"],
)
def test_a_path_with_a_colon_is_no_name_of_a_module(path, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(StorageError, match="no such file") as error:
        cesma_sb3.decentralize(path, ENV, algorithm="PPO", trust=True, **TINY)
    assert path in str(error.value)


def test_a_class_or_an_unknown_thing_in_place_of_a_model():
    team = joint_vec_env(ReachEnv, 1).team

    class Needs:
        def __init__(self, depth):
            pass

        def labels(self, seen, masks=None):
            return np.zeros((len(seen), team.n_columns))

    class Plain:
        def __init__(self, team=None):
            self.columns = team.n_columns

        def labels(self, seen, masks=None):
            return np.full((len(seen), self.columns), 0.5)

    for controller, problem in (
        (PPO, "PPO: is a class, without weights; expected a trained object"),
        (th.nn.Linear, "Linear: is a class, without weights"),
        (Needs, "Needs: is a class that needs depth; expected an object of it"),
        (dict.fromkeys(team.agents, PPO), "the class PPO, expected a function of its own observation"),
        (dict.fromkeys(team.agents, 3), "int, expected a function of its own observation"),
    ):
        with pytest.raises(CesmaError, match=problem):
            adapt_expert(controller, team)
    assert (adapt_expert(Plain, team).labels(np.zeros((2, team.observation_size))) == 0.5).all()
