"""What the caller's program has set in PyTorch neither breaks a call nor is changed by one."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch as th
from imitation.util import logger as imitation_logger

import cesma_sb3
from cesma_sb3.algorithms import TeamPPO
from cesma_sb3.deploy.export import export
from cesma_sb3.envs.joint_vec_env import JointVecEnv, joint_vec_env
from cesma_sb3.evaluation import evaluate
from cesma_sb3.experts import SB3Expert
from cesma_sb3.imitation import MultiAgentDAggerTrainer
from cesma_sb3.imitation.registry import ALGORITHMS
from cesma_sb3.policies import TeamPolicy, load_team, save_team
from cesma_sb3.spaces.action_views import make_view
from cesma_sb3.testing import check_team
from cesma_sb3.training.evaluate_run import evaluate_run
from cesma_sb3.utils.signatures import wrong_argument
from cesma_sb3.utils.torch_defaults import own_generators, plain_torch
from tests.bring import controllers
from tests.envs_for_tests import MatchingGame

SETTINGS = ("dtype", "half", "device", "within a device", "no gradients", "inference", "autocast")
TINY: dict[str, Any] = {
    "total_timesteps": 48,
    "students": {"hidden_sizes": [8]},
    "dagger": {"n_envs": 2, "batch_size": 8, "samples_per_update": 8},
    "evaluation": {"n_final_episodes": 4, "n_eval_episodes": 2, "eval_freq": 48, "n_envs": 2},
}


@contextlib.contextmanager
def setting(name: str) -> Iterator[None]:
    """A program that has set something, and finds it as it was."""
    with contextlib.ExitStack() as stack:
        if name in {"dtype", "half"}:
            stack.callback(th.set_default_dtype, th.get_default_dtype())
            th.set_default_dtype(th.float64 if name == "dtype" else th.float16)
        elif name == "device":
            stack.callback(th.set_default_device, None)
            th.set_default_device("meta")
        else:
            entered = {
                "within a device": lambda: th.device("meta"),
                "no gradients": th.no_grad,
                "inference": th.inference_mode,
                "autocast": lambda: th.autocast("cpu", dtype=th.bfloat16),
            }
            stack.enter_context(entered[name]())
        before = state()
        yield
        assert state() == before


def state() -> tuple[Any, ...]:
    return (
        th.get_default_dtype(),
        th.empty(0).device,
        th.is_grad_enabled(),
        th.is_inference_mode_enabled(),
        th.is_autocast_enabled("cpu"),
    )


@pytest.fixture
def venv():
    made = joint_vec_env(MatchingGame, 2, seed=0)
    yield made
    made.close()


def students(venv: JointVecEnv, **kwargs: Any) -> TeamPolicy:
    team = venv.team
    return TeamPolicy(
        team.observation_space, team.action_space, lambda _: 1e-3, team=team, hidden_sizes=(8,), **kwargs
    )


@pytest.mark.parametrize("name", SETTINGS)
def test_a_team_and_its_agents(name, venv, tmp_path):
    th.manual_seed(0)
    policy = students(venv)
    seen = venv.reset()
    wanted = policy.predict(seen, deterministic=True)[0]
    with setting(name):
        th.manual_seed(0)
        again = students(venv)
        save_team(again, tmp_path / "team")
        teams = [policy, again, load_team(tmp_path / "team")]
        for each in teams:
            np.testing.assert_array_equal(each.predict(seen, deterministic=True)[0], wanted)
            for index in range(2):
                own = seen[0, 3 * index : 3 * index + 3]
                action, _ = each.agent(index).predict(own, deterministic=True)
                assert action == wanted[0, index]
        check_team(again, n_samples=8)
    assert {weight.dtype for weight in again.parameters()} == {th.float32}


@pytest.mark.parametrize(
    ("algorithm", "name"),
    [*(("dagger", name) for name in SETTINGS), ("bc", "dtype"), ("bc", "inference"), ("smile", "device")],
)
def test_a_trainer_alone(algorithm, name, venv):
    often = {"samples_per_update": 4}
    more = {"dagger": often, "bc": {"final_updates": 2, **often}, "smile": {"n_iterations": 2}}[algorithm]
    with setting(name):
        trainer = ALGORITHMS[algorithm](
            venv=venv,
            expert_policy=controllers.joint,
            rng=np.random.default_rng(0),
            batch_size=4,
            custom_logger=imitation_logger.configure(None, []),
            **more,
        )
        trainer.train(16)
    assert trainer.n_updates > 0
    assert evaluate(trainer.policy, venv, n_eval_episodes=2).mean >= 0


@pytest.mark.parametrize("name", SETTINGS)
def test_a_model_labels_as_ever(name, venv):
    model = TeamPPO(
        "MlpPolicy", venv, n_steps=4, batch_size=4, device="cpu", policy_kwargs={"team": venv.team}
    )
    expert = SB3Expert(model, venv.team, make_view("joint", venv.team))
    seen = venv.reset()
    labels, shares = expert.labels(seen), expert.probabilities(seen)
    with setting(name):
        np.testing.assert_array_equal(expert.labels(seen), labels)
        np.testing.assert_allclose(expert.probabilities(seen), shares, rtol=1e-5)


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "plain"
    return cesma_sb3.decentralize("tests.bring.controllers:joint", MatchingGame, out=out, **TINY)


@pytest.mark.parametrize("name", ["dtype", "device", "inference"])
def test_whole_runs(name, plain, tmp_path):
    with setting(name):
        result = cesma_sb3.decentralize(
            "tests.bring.controllers:joint", MatchingGame, out=tmp_path / "run", **TINY
        )
        again = evaluate_run(plain.run_dir)
        export(plain.run_dir, format="torchscript")
    assert result.report["return"] == plain.report["return"] == again["return"]
    for own, other in zip(result.students.parameters(), plain.students.parameters(), strict=True):
        assert th.equal(own, other)


def test_it_is_put_back_after_an_exception():
    with setting("dtype"), pytest.raises(ZeroDivisionError), plain_torch():
        raise ZeroDivisionError


def test_what_is_about_speed_or_debugging_stays():
    with th.autograd.set_detect_anomaly(True), plain_torch():
        assert th.is_anomaly_enabled()
    th.use_deterministic_algorithms(True)
    try:
        with plain_torch():
            assert th.are_deterministic_algorithms_enabled()
    finally:
        th.use_deterministic_algorithms(False)


def drawn() -> tuple[float, ...]:
    return random.random(), np.random.random(), float(th.rand(()))  # noqa: NPY002  # the global one is meant


def test_a_run_leaves_the_global_generators_as_they_were(tmp_path):
    def seed() -> None:
        random.seed(5)
        np.random.seed(5)  # noqa: NPY002  # as above
        th.manual_seed(5)

    seed()
    wanted = drawn()
    seed()
    cesma_sb3.decentralize("tests.bring.controllers:joint", MatchingGame, out=tmp_path / "run", **TINY)
    assert drawn() == wanted
    seed()
    with pytest.raises(ZeroDivisionError), own_generators():
        raise ZeroDivisionError(drawn())
    assert drawn() == wanted


def test_a_decorated_constructor_says_its_types_as_before():
    assert wrong_argument(TeamPolicy, {"share_parameters": 3}) is not None
    assert wrong_argument(MultiAgentDAggerTrainer, {"batch_size": "many"}) is not None
