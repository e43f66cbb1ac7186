"""Networks in memory and from files are tried once: how many rows they take, of which numbers, how wide."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch as th

from cesma_sb3.envs.joint_vec_env import joint_vec_env
from cesma_sb3.errors import ExpertError, StorageError
from cesma_sb3.evaluation import evaluate
from cesma_sb3.experts import adapt_expert
from cesma_sb3.experts.loading import load_onnx, load_torchscript
from cesma_sb3.spaces.team_spaces import TeamSpaces
from tests.envs_for_tests import MatchingGame, MortalEnv

GAME = TeamSpaces.from_parallel_env(MatchingGame())
MORTAL = TeamSpaces.from_parallel_env(MortalEnv())
FLOAT, DOUBLE, HALF, BOOL, INT64 = (
    getattr(onnx.TensorProto, name) for name in ("FLOAT", "DOUBLE", "FLOAT16", "BOOL", "INT64")
)


def seen(n: int = 5, width: int = 6) -> np.ndarray:
    return np.random.default_rng(0).normal(size=(n, width)).astype(np.float32)


def onnx_file(path: Path, shape: list[Any], kind: int = FLOAT, op: str = "Neg", **more: Any) -> Path:
    """One operation on the input; with `masks`, times the masks."""
    helper = onnx.helper
    inputs = [helper.make_tensor_value_info("input", kind, shape)]
    nodes = [helper.make_node(op, ["input"], ["output"], **more.get("attributes", {}))]
    if "masks" in more:
        inputs.insert(0, helper.make_tensor_value_info("action_masks", BOOL, [shape[0], more["masks"]]))
        nodes = [
            helper.make_node("Cast", ["action_masks"], ["flags"], to=kind),
            helper.make_node("Identity", ["input"], ["unused"]),
            helper.make_node("Mul", ["flags", "flags"], ["output"]),
        ]
    outputs = [helper.make_tensor_value_info("output", kind, None)]
    graph = helper.make_graph(nodes, "net", inputs, outputs)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, path)
    return path


@pytest.mark.parametrize("batch", [1, 3, 5, "batch"])
@pytest.mark.parametrize("kind", [FLOAT, DOUBLE, HALF])
def test_an_onnx_file_of_any_batch_and_any_floating_point_numbers(batch, kind, tmp_path):
    network = load_onnx(onnx_file(tmp_path / "net.onnx", [batch, 6], kind))
    expert = adapt_expert(network, GAME, outputs="logits")
    for n in (1, 2, 5, 7):
        wanted = np.negative(seen(n)).reshape(n, 2, 3).argmax(axis=2)
        np.testing.assert_array_equal(expert.labels(seen(n)), wanted)


def test_an_onnx_file_with_masks(tmp_path):
    network = load_onnx(
        onnx_file(tmp_path / "net.onnx", [1, MORTAL.observation_size], masks=MORTAL.mask_size)
    )
    expert = adapt_expert(network, MORTAL, outputs="logits")
    masks = np.zeros((4, MORTAL.mask_size), dtype=bool)
    masks[:, [where.stop - 1 for where in MORTAL.column_masks]] = True
    np.testing.assert_array_equal(network(seen(4), masks), masks)
    np.testing.assert_array_equal(expert.labels(seen(4), masks)[:, 0], np.full(4, 2))
    assert network(seen(4)).all()  # without masks all is available


@pytest.mark.parametrize(
    ("shape", "kind", "problem"),
    [
        (["batch", 8], FLOAT, r"net\.onnx: takes 8 numbers, the team's joint observations have 6"),
        ([1, 5], DOUBLE, r"net\.onnx: takes 5 numbers, the team's joint observations have 6"),
        ([1, 2, 3], FLOAT, r"takes tensor\(float\) of shape \[1, 2, 3\], expected floating-point numbers"),
        (["batch", 6], INT64, r"takes tensor\(int64\) of shape .*, expected floating-point numbers"),
    ],
)
def test_what_does_not_fit_is_told_when_it_is_read(shape, kind, problem, tmp_path):
    with pytest.raises((ExpertError, StorageError), match=problem) as error:
        adapt_expert(load_onnx(onnx_file(tmp_path / "net.onnx", shape, kind)), GAME, outputs="logits")
    assert "\n" not in str(error.value)


def test_an_onnx_file_that_fails_inside_is_told(tmp_path):
    op = {"op": "ReduceSum", "attributes": {"keepdims": 0}}  # one number for all rows
    expert = adapt_expert(
        load_onnx(onnx_file(tmp_path / "net.onnx", ["b", "n"], **op)), GAME, outputs="logits"
    )
    with pytest.raises(ExpertError, match=r"net\.onnx: returned logits of shape"):
        expert.labels(seen())


class Attending(th.nn.Module):
    """Reads its whole batch as one set, as a network that was traced with one row may."""

    def forward(self, rows: th.Tensor) -> th.Tensor:
        return rows - rows.view(1, -1, 6).mean(dim=1)


class Reshaping(th.nn.Module):
    """Gives one row, whatever comes."""

    def forward(self, rows: th.Tensor) -> th.Tensor:
        return -rows.reshape(1, -1)[:, :6]


class Squeezing(th.nn.Module):
    """Has no axis for a batch of one."""

    def forward(self, rows: th.Tensor) -> th.Tensor:
        return -rows.squeeze(0)


def traced(module: th.nn.Module, path: Path) -> Path:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        th.jit.trace(module, th.zeros(1, 6), check_trace=False).save(str(path))
    return path


@pytest.mark.parametrize(
    "module", [Attending(), Reshaping(), Squeezing()], ids=lambda each: type(each).__name__
)
@pytest.mark.parametrize("how", ["memory", "torchscript"])
def test_a_network_that_takes_one_row_is_called_row_by_row(module, how, tmp_path):
    network: Any = module
    if how == "torchscript":
        network = load_torchscript(traced(module, tmp_path / "net.pt"), trust=True)
    expert = adapt_expert(network, GAME, outputs="logits")
    rows = [module(th.as_tensor(seen()[[row]])).numpy().reshape(1, 6) for row in range(5)]
    wanted = np.concatenate(rows).reshape(5, 2, 3).argmax(axis=2)
    np.testing.assert_array_equal(expert.labels(seen()), wanted)


def test_one_that_needs_several_rows_or_draws_is_called_with_all(tmp_path):
    class Several(th.nn.Module):
        def forward(self, rows):
            assert len(rows) > 1, "several, please"
            return -rows

    class Drawing(th.nn.Module):
        sizes: list[int] = []  # noqa: RUF012  # of a test

        def forward(self, rows):
            self.sizes.append(len(rows))
            return th.randn(rows.shape)

    assert adapt_expert(Several(), GAME, outputs="logits").labels(seen()).shape == (5, 2)
    before = th.random.get_rng_state()
    expert = adapt_expert(Drawing(), GAME, outputs="logits")
    assert th.equal(th.random.get_rng_state(), before)  # trying it left no trace
    expert.labels(seen())
    assert Drawing.sizes[-1] == 5


@pytest.mark.parametrize("kind", [th.float64, th.float16, th.bfloat16])
def test_a_module_of_other_numbers(kind):
    module = th.nn.Linear(6, 6).to(kind)
    wanted = module(th.as_tensor(seen()).to(kind)).detach().float().view(5, 2, 3).argmax(dim=2)
    np.testing.assert_array_equal(adapt_expert(module, GAME, outputs="logits").labels(seen()), wanted)


@pytest.mark.parametrize("how", ["memory", "torchscript"])
def test_a_module_of_another_width_is_told_when_it_is_read(how, tmp_path):
    network: Any = th.nn.Linear(9, 6)
    if how == "torchscript":
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            th.jit.trace(network, th.zeros(1, 9)).save(str(tmp_path / "net.pt"))
        network = load_torchscript(tmp_path / "net.pt", trust=True)
    told = r"(Linear|net\.pt): does not take the team's joint observations of 6 numbers: .*1x6 and 9x6"
    with pytest.raises(ExpertError, match=told) as error:
        adapt_expert(network, GAME, outputs="logits")
    assert "\n" not in str(error.value)


def test_each_agent_may_have_a_network_or_a_model_of_its_own():
    team = TeamSpaces.from_parallel_env(MatchingGame())
    venv = joint_vec_env(MatchingGame, 1)

    class Best(th.nn.Module):
        def forward(self, own):
            return own.argmax(dim=1)

    expert = adapt_expert({"player_0": Best(), "player_1": lambda own: own.argmax()}, team)
    np.testing.assert_array_equal(expert.labels(seen()), seen().reshape(5, 2, 3).argmax(axis=2))
    venv.close()


def test_agents_that_are_called_by_numbers():
    class Numbered(MatchingGame):
        def __init__(self) -> None:
            super().__init__()
            self.possible_agents = [0, 1]

    team = TeamSpaces.from_parallel_env(Numbered())
    for names in ((0, 1), (np.int64(0), np.int64(1)), ("0", "1")):
        each = {name: lambda own: int(own.argmax()) for name in names}
        labels = adapt_expert(each, team).labels(seen())
        np.testing.assert_array_equal(labels, seen().reshape(5, 2, 3).argmax(axis=2))
    with pytest.raises(ExpertError, match="0 has two controllers"):
        adapt_expert({0: int, "0": int, 1: int}, team)
    with pytest.raises(ExpertError, match="2 is no agent of the team"):
        adapt_expert({0: int, 1: int, 2: int}, team)


def test_whoever_acts_may_write_into_what_it_sees():
    venv = joint_vec_env(MortalEnv, 2, seed=0, team_reward="sum")

    def act(observations, masks):
        actions = np.stack([masks[:, where].argmax(axis=1) for where in venv.team.column_masks], axis=1)
        observations[:] = np.nan
        masks[:] = False
        return actions

    assert np.isfinite(evaluate(act, venv, n_eval_episodes=2, seed=0).team).all()
    venv.close()
