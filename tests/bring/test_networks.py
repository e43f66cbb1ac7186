"""Networks and losses by class path: learned with, saved, read back, exported."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch as th

import cesma_sb3
from cesma_sb3.config.registry import load_experiment
from cesma_sb3.deploy.export import export
from cesma_sb3.errors import ConfigError, ExpertError, SpaceError, StorageError, UserCodeError
from cesma_sb3.policies import TeamPolicy, load_team, parameter_counts, save_team
from cesma_sb3.testing import check_team
from cesma_sb3.training.evaluate_run import evaluate_run
from cesma_sb3.training.run_folder import RunFolder
from tests.bring.networks import Residual, Scaled, Wider
from tests.envs_for_tests import MatchingGame, MixedEnv

RESIDUAL = {"network": "custom", "module": "tests.bring.networks:Residual", "kwargs": {"width": 8}}
TINY: dict[str, Any] = {
    "total_timesteps": 3000,
    "dagger": {"n_envs": 4, "batch_size": 64, "samples_per_update": 8, "learning_rate": 1e-2},
    "evaluation": {"n_final_episodes": 16, "n_eval_episodes": 8, "eval_freq": 1000, "n_envs": 4},
}


def team_policy(env=MatchingGame, module=Residual, **kwargs):
    team = cesma_sb3.TeamSpaces.from_parallel_env(env())
    return TeamPolicy(
        team.observation_space,
        team.action_space,
        lambda _: 0.0,
        team=team,
        network="custom",
        module=module,
        **kwargs,
    )


def test_students_of_a_network_and_a_loss_of_somebodys_own(tmp_path):
    before = Scaled.calls
    result = cesma_sb3.decentralize(
        "tests.bring.controllers:joint",
        MatchingGame,
        students=RESIDUAL,
        out=tmp_path / "run",
        **{"dagger.loss_class": "tests.bring.networks:Scaled", "dagger.loss_kwargs.by": 2.0},
        **TINY,
    )
    assert Scaled.calls > before
    assert result.report["return"]["students"] == 8.0
    assert result.report["parameters"]["students"]["agent"] == sum(
        weight.numel() for weight in result.students.agent(0).network.parameters()
    )
    assert evaluate_run(tmp_path / "run")["return"] == result.report["return"]
    export(tmp_path / "run")
    check = load_team(tmp_path / "run" / "students", module=Residual)
    th.testing.assert_close(check.action_net.state_dict(), result.students.action_net.state_dict())


def test_a_loss_that_raises_ends_the_run_with_its_place_and_a_traceback(tmp_path):
    run_dir = tmp_path / "run"
    with pytest.raises(UserCodeError, match=r"run: KeyError: 2 \(tests/bring/networks.py:\d+\)$") as told:
        cesma_sb3.decentralize(
            "tests.bring.controllers:joint",
            MatchingGame,
            out=run_dir,
            **{"dagger.loss_class": "tests.bring.networks:Breaks"},
            **TINY,
        )
    assert isinstance(told.value.__cause__, KeyError)
    folder = RunFolder.open(run_dir)
    assert (folder.status, folder.info["error"]) == ("failed", "KeyError: 2")
    assert "in __call__" in (run_dir / "error.log").read_text()


@pytest.mark.parametrize("env", [MatchingGame, MixedEnv])
def test_agents_are_apart(env, tmp_path):
    policy = team_policy(env, module_kwargs={"width": 5})
    assert parameter_counts(policy)["agent"] > 0
    seen = np.random.default_rng(0).normal(size=(7, policy.team.observation_size)).astype(np.float32)
    for index, own in enumerate(policy.team.split_observations(seen).values()):
        alone = policy.agent(index)(th.as_tensor(own))
        together = policy.outputs(th.as_tensor(seen))[:, policy.team.output_slices[index]]
        th.testing.assert_close(alone, together)


def test_a_file_names_its_code_and_does_not_bring_it(tmp_path):
    policy = team_policy()
    save_team(policy, tmp_path)
    with pytest.raises(
        StorageError, match=r"made by tests\.bring\.networks:Residual, expected module= that, got none"
    ):
        load_team(tmp_path)
    with pytest.raises(StorageError, match=r"got tests\.bring\.networks:Wider"):
        load_team(tmp_path, module=Wider)
    seen = np.eye(6, dtype=np.float32)
    again = load_team(tmp_path, module=Residual)
    np.testing.assert_array_equal(again.predict(seen)[0].shape, policy.predict(seen)[0].shape)
    th.testing.assert_close(again.outputs(th.as_tensor(seen)), policy.outputs(th.as_tensor(seen)))


def test_the_checks_of_a_team_take_it():
    with pytest.raises(StorageError, match="expected module= that"):
        check_team(team_policy())
    check_team(team_policy(), module=Residual)


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        (
            {"students.network": "custom"},
            r"students\.module: expected module:Class for network custom, got None",
        ),
        ({"students.module": "a:B"}, r"students\.module: expected null for network entities, got a:B"),
        (
            {**RESIDUAL, "module": "tests.bring.networks:Resid"},
            "of Module; did you mean 'Residual'.*Wider",
        ),
        ({**RESIDUAL, "kwargs": {"wdth": 3}}, r"argument of Residual 'wdth'; did you mean 'width'"),
        ({**RESIDUAL, "kwargs": {"n_inputs": 3}}, "Residual already gets it from the experiment"),
        ({"dagger.loss_class": "tests.bring.networks:Scale"}, r"dagger\.loss_class: .* a class.*Scaled"),
        (
            {"dagger.loss_class": "tests.bring.networks:Scaled", "dagger.loss_kwargs": {"bye": 2}},
            "argument of Scaled 'bye'; did you mean 'by'",
        ),
    ],
)
def test_bad_names_are_told(changes, problem):
    changes = changes if any("." in key for key in changes) else {"students": changes}
    with pytest.raises(ConfigError, match=problem):
        load_experiment("spread-3-scripted", changes)


def test_what_does_not_fit_is_told():
    with pytest.raises(
        SpaceError, match=r"Wider: outputs \(2, 4\) for 2 observations of agent 0, expected \(2, 3\)"
    ):
        team_policy(module=Wider)
    with pytest.raises(ExpertError, match="network custom: is of each agent's own observation"):
        team_policy(actor_visibility="joint")
    with pytest.raises(ExpertError, match="network custom: expected a module"):
        team_policy(module=None)
