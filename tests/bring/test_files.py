"""Controllers that are files: trusted or not, torn, of another class or team; each is kept with its run."""

from __future__ import annotations

import json
import pickle
import warnings
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch as th
from click.testing import CliRunner
from stable_baselines3 import DQN, PPO
from stable_baselines3.common.vec_env import VecNormalize

import cesma_sb3
from cesma_sb3.cli import cesma
from cesma_sb3.envs import make_vec_env
from cesma_sb3.errors import CesmaError, ConfigError, ExpertError, StorageError, UntrustedError
from cesma_sb3.experts.loading import load_normalization, load_onnx, load_sb3, load_torchscript
from cesma_sb3.training.evaluate_run import evaluate_run
from tests.bring.test_functions import CUES, SEEN
from tests.envs_for_tests import MatchingGame

ENV = "tests.envs_for_tests:MatchingGame"
TINY: dict[str, Any] = {
    "total_timesteps": 200,
    "students": {"hidden_sizes": [16]},
    "dagger": {"n_envs": 4, "batch_size": 32},
    "evaluation": {"n_final_episodes": 16, "n_eval_episodes": 8, "eval_freq": 200, "n_envs": 4},
}


class Explosive:
    """Says so when it is unpickled."""

    def __reduce__(self) -> Any:
        return Path.touch, (Path("exploded"),)


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(scope="module")
def ppo():
    return PPO("MlpPolicy", make_vec_env(ENV, n_envs=4, seed=0), n_steps=32, gamma=0.0, seed=0).learn(128)


@pytest.fixture
def zipped(ppo, here):
    ppo.save(here / "ppo.zip")
    return here / "ppo.zip"


def exact_onnx(path: Path, scale: float = 4.0) -> Path:
    """Logits: the observation itself, scaled."""
    helper, kind = onnx.helper, onnx.TensorProto.FLOAT
    graph = helper.make_graph(
        [helper.make_node("Mul", ["observation", "scale"], ["logits"])],
        "cues",
        [helper.make_tensor_value_info("observation", kind, ["batch", 6])],
        [helper.make_tensor_value_info("logits", kind, ["batch", 6])],
        [helper.make_tensor("scale", kind, [1], [scale])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, path)
    return path


def exact_torchscript(path: Path) -> Path:
    class Argmax(th.nn.Module):
        def forward(self, observations: th.Tensor) -> th.Tensor:
            return observations.reshape(-1, 2, 3).argmax(dim=2)

    # Its replacement, torch.export, has a file format of its own; what people have is this one.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        th.jit.trace(Argmax(), th.as_tensor(SEEN)).save(str(path))
    return path


def test_an_sb3_file_runs_no_code_unless_it_is_trusted(here):
    (here / "bad.zip").write_bytes(b"")
    with pytest.raises(UntrustedError, match=r"bad\.zip: an SB3 file holds pickled.*any code.*trust=True"):
        load_sb3(here / "bad.zip", PPO)
    (here / "bad.pkl").write_bytes(pickle.dumps(Explosive()))
    with pytest.raises(UntrustedError, match=r"bad\.pkl: it is a pickle.*any code"):
        load_normalization(here / "bad.pkl")
    assert not (here / "exploded").exists()
    with pytest.raises(UntrustedError, match="a TorchScript file is a program"):
        load_torchscript(here / "bad.zip")
    with pytest.raises(UntrustedError):
        cesma_sb3.decentralize("bad.zip", ENV, algorithm="PPO", out=here / "run")
    with pytest.raises(StorageError, match="holds a NoneType, expected VecNormalize"):
        load_normalization(here / "bad.pkl", trust=True)
    assert (here / "exploded").exists()  # the test itself could fail


def test_files_that_are_none(here, zipped):
    (here / "torn.zip").write_bytes(zipped.read_bytes()[:2000])
    (here / "torn.onnx").write_bytes(b"torn")
    cases = (
        (lambda: load_sb3(here / "no.zip", PPO, trust=True), r"no\.zip: no such file"),
        (lambda: load_sb3(here / "torn.zip", PPO, trust=True), r"torn\.zip: no file of SB3's: "),
        (
            lambda: load_sb3(zipped, DQN, trust=True),
            r"cannot be loaded as DQN: its policy is of stable.*: ",
        ),
        (lambda: load_onnx(here / "torn.onnx"), r"torn\.onnx: no ONNX model: "),
        (lambda: load_onnx(here / "no.onnx"), r"no\.onnx: no such file"),
        (lambda: load_torchscript(here / "torn.onnx", trust=True), r"torn\.onnx: no TorchScript: "),
        (lambda: load_normalization(here / "no.pkl", trust=True), r"no\.pkl: no such file"),
    )
    for load, problem in cases:
        with pytest.raises(StorageError, match=problem) as error:
            load()
        assert "\n" not in str(error.value)


def test_exported_networks_label_as_they_were(here):
    np.testing.assert_array_equal(load_onnx(exact_onnx(here / "a.onnx"))(SEEN), 4 * SEEN)
    found = load_torchscript(exact_torchscript(here / "a.pt"), trust=True)(SEEN)
    np.testing.assert_array_equal(found, CUES)


def test_six_lines_from_a_file_to_agents(zipped, ppo):
    result = cesma_sb3.decentralize("ppo.zip", ENV, algorithm="PPO", trust=True, **TINY)
    np.testing.assert_array_equal(result.expert.labels(SEEN), ppo.predict(SEEN, deterministic=True)[0])
    assert result.run_dir.parent == Path("runs/decentralized")
    zipped.unlink()  # the run folder has its own
    assert evaluate_run(result.run_dir)["return"] == result.report["return"]


@pytest.mark.parametrize("kind", ["memory", "onnx", "torchscript", "class", "function"])
def test_every_run_folder_can_be_measured_again(kind, here, ppo):
    more: dict[str, Any] = {}
    expert: Any = ppo
    if kind == "onnx":
        expert, more = exact_onnx(here / "cues.onnx"), {"expert.outputs": "logits", "dagger.labels": "soft"}
    elif kind == "torchscript":
        expert, more = exact_torchscript(here / "cues.pt"), {"trust": True}
    elif kind == "class":
        expert, more = "tests.bring.controllers:Shifted", {"expert.kwargs.by": 1}
    elif kind == "function":
        expert = "tests.bring.controllers:joint"
    result = cesma_sb3.decentralize(expert, ENV, out=here / "run", **TINY, **more)
    for path in here.glob("cues.*"):
        path.unlink()
    assert evaluate_run(result.run_dir)["return"] == result.report["return"]
    wanted = {"memory": None, "class": 0.0}.get(kind, 8.0)
    assert wanted is None or result.report["return"]["expert"] == wanted


def test_what_was_in_memory_alone_is_told(here):
    result = cesma_sb3.decentralize(lambda seen: np.zeros((len(seen), 2)), ENV, out=here / "run", **TINY)
    with pytest.raises(StorageError, match=r"handed to decentralize\(\) in memory, and no file holds it"):
        evaluate_run(result.run_dir)


@pytest.mark.parametrize("how", ["memory", "given", "file"])
def test_normalized_observations(how, here):
    """The expert was trained on normalized observations, and labels those that are not."""
    venv = make_vec_env(ENV, n_envs=4, seed=0)
    normalized = VecNormalize(venv, norm_reward=False)
    model = PPO("MlpPolicy", normalized, n_steps=64, gamma=0.0, seed=0, learning_rate=1e-2).learn(256)
    seen = normalized.normalize_obs(SEEN)
    wanted = model.predict(seen, deterministic=True)[0]
    assert np.abs(seen - SEEN).max() > 0.1
    expert: Any = model
    more: dict[str, Any] = {}
    if how == "given":
        expert, more = model.policy, {"normalization": normalized}
    elif how == "file":
        model.save(here / "ppo")
        normalized.save(str(here / "statistics.pkl"))
        expert = "ppo.zip"
        more = {"algorithm": PPO, "normalization": "statistics.pkl", "trust": True}
    result = cesma_sb3.decentralize(expert, ENV, out=here / "run", **TINY, **more)
    np.testing.assert_array_equal(result.expert.labels(SEEN), wanted)
    if how != "given":
        assert evaluate_run(result.run_dir)["return"] == result.report["return"]


JOINT, SHIFTED = "tests.bring.controllers:joint", "tests.bring.controllers:Shifted"


@pytest.mark.parametrize(
    ("expert", "more", "problem"),
    [
        ("ppo.zip", {}, r"ppo\.zip: expected algorithm=, the name of the class"),
        ("ppo.zip", {"algorithm": "POP"}, r"expert\.algorithm: unknown algorithm 'POP'; did you mean 'PPO'"),
        (f"{JOINT}ed", {}, r"unknown name in tests\.bring\.controllers 'jointed'; did you mean 'joint'"),
        ("tests.bring.controllers:nothing", {}, "float, expected an SB3 algorithm or a controller"),
        (SHIFTED, {"expert.kwargs.bye": 1}, "argument of Shifted 'bye'; did you mean 'by'"),
        (JOINT, {"expert.kwargs.by": 1}, r"expert\.kwargs: expected none"),
        ({}, {}, "player_0 has no controller"),
        (JOINT, {"env": lambda: None}, "env: .*<lambda> is not found in "),
        (JOINT, {"env": 5}, "env: int; expected a name, or the function"),
        (JOINT, {"normalization": "a.pkl"}, "normalization: expected null"),
        (lambda seen: seen, {"normalization": "a.pkl"}, "expected VecNormalize itself, beside"),
        (JOINT, {"expert.total_timesteps": 5}, "total_timesteps: expected none"),
        (JOINT, {"dagger": None}, "dagger: null: expected an algorithm to train"),
    ],
)
@pytest.mark.usefixtures("zipped")
def test_bad_input_is_one_line_that_names_it(expert, more, problem, here):
    given = {"env": ENV, "out": here / "run", **TINY, **more}
    with pytest.raises(CesmaError, match=problem) as error:
        cesma_sb3.decentralize(expert, **given)
    assert "\n" not in str(error.value)


def three_players(**kwargs: Any) -> MatchingGame:
    return MatchingGame(n_agents=3, **kwargs)


@pytest.mark.parametrize(
    ("env", "n_agents"),
    [
        (MatchingGame, 2),
        (three_players, 3),
        (partial(MatchingGame, n_agents=4), 4),
        ({"id": MatchingGame, "kwargs": {"n_agents": 5}}, 5),
        ({"id": partial(MatchingGame, length=2), "kwargs": {"n_agents": 5}}, 5),
        ({"id": ENV, "kwargs": {"n_agents": 3}}, 3),
    ],
)
def test_environments_in_memory(env, n_agents, here):
    each = {f"player_{i}": lambda own: 0 for i in range(n_agents)}
    result = cesma_sb3.decentralize(each, env, out=here / "run", **TINY)
    assert result.students.team.n_agents == n_agents
    written = cesma_sb3.load_experiment(here / "run" / "config.yaml")
    assert written.env.id.startswith("tests.")


def test_positional_arguments_of_an_environment_have_no_names():
    with pytest.raises(ConfigError, match="positional arguments in a partial; expected them by keyword"):
        cesma_sb3.decentralize(lambda seen: seen, partial(MatchingGame, 3))


def test_a_model_of_another_team(zipped, here):
    env = {"id": ENV, "kwargs": {"n_agents": 3}}
    with pytest.raises(
        ExpertError, match=r"ppo\.zip: .*: its observation space is .*\(6,\).*the team's is .*\(9,\)"
    ):
        cesma_sb3.decentralize("ppo.zip", env, algorithm="PPO", trust=True, out=here / "run", **TINY)


def test_an_experiment_may_name_a_file(zipped, here):
    (here / "mine.yaml").write_text(
        f"env: {{id: '{ENV}'}}\nexpert: {{algorithm: PPO, path: ppo.zip, trust: true}}\n"
        "students: {hidden_sizes: [16]}\ndagger: {total_timesteps: 200, n_envs: 4, batch_size: 32}\n"
        "evaluation: {n_final_episodes: 16, n_eval_episodes: 8, eval_freq: 200, n_envs: 4}\n"
    )
    assert cesma_sb3.run("mine.yaml", out=here / "run").report["env_samples"]["expert"] == 0
    with pytest.raises(ConfigError, match="total_timesteps: expected 0 for a pretrained controller, got 5"):
        cesma_sb3.run("mine.yaml", **{"expert.total_timesteps": 5})


def test_the_command(zipped, ppo):
    small = [word for key in ("dagger.n_envs=4", "evaluation.n_envs=4") for word in ("--set", key)]
    small += [
        word for key in ("n_final_episodes", "n_eval_episodes") for word in ("--set", f"evaluation.{key}=8")
    ]
    arguments = ["decentralize", zipped.name, ENV, "--algorithm", "PPO", "--total-timesteps", "200", *small]
    asked = CliRunner().invoke(cesma, [*arguments, "--trust", "--seed", "3", "--out", "run", "--json"])
    assert asked.exit_code == 0, asked.output
    report = json.loads(asked.stdout)
    assert (report["run_dir"], report["seed"]) == ("run", 3)
    policy = load_sb3(Path("run/expert/model.zip"), PPO, trust=True)
    for name, weights in policy.state_dict().items():
        th.testing.assert_close(weights, ppo.policy.state_dict()[name])
    refused = CliRunner().invoke(cesma, arguments, standalone_mode=False)
    assert isinstance(refused.exception, UntrustedError)
