"""`export`: one file for each agent, which runs where this package is not installed.

Its inputs are `observation` [B, F] float32, then `mask` [B, M] bool where actions can be unavailable, then
`state` [B, S] float32 where it has a memory (zeros when an episode begins), then `noise` [B, O] float32 where
its team samples its actions: standard normal noise, drawn anew at each step. An agent without `noise`, or
with zeros for it, is deterministic. Its outputs are `action` [B, A], packed as the JSON file beside it
describes, and `next_state` where it has a memory.
"""

from __future__ import annotations

import copy
import importlib
import io
import json
import math
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, get_args

import gymnasium
import torch as th
from gymnasium import spaces
from sb3_contrib import MaskablePPO
from stable_baselines3 import PPO
from stable_baselines3.common.preprocessing import is_image_space
from torch import nn

from cesma_sb3.deploy.agent_json import describe
from cesma_sb3.envs.factory import declared_team
from cesma_sb3.errors import ConfigError, check_choice
from cesma_sb3.policies import AgentPolicy, TeamPolicy
from cesma_sb3.policies.distributions import UNAVAILABLE
from cesma_sb3.policies.networks.recurrent import RecurrentTeamNet
from cesma_sb3.spaces.agent_slices import partition_indices
from cesma_sb3.spaces.agent_spaces import ActionColumns, without_mask
from cesma_sb3.spaces.communication import message_columns
from cesma_sb3.spaces.team_spaces import TeamSpaces
from cesma_sb3.training.evaluator import declared_slices
from cesma_sb3.training.load import load_students
from cesma_sb3.training.run_folder import RunFolder, check_free
from cesma_sb3.utils import atomic
from cesma_sb3.utils.file_names import as_path, file_names
from cesma_sb3.utils.installation import missing_extra
from cesma_sb3.utils.torch_defaults import plain_torch

Format = Literal["onnx", "torchscript", "sb3"]
_SUFFIX = {"onnx": ".onnx", "torchscript": ".pt", "sb3": ".zip"}
_VERSION = 3


class AgentProgram(nn.Module):
    """An agent from tensors to tensors, with the inputs and outputs that the top of this file names.

    Args:
        agent: The policy.
    """

    def __init__(self, agent: AgentPolicy) -> None:
        super().__init__()
        self.network = copy.deepcopy(agent.network).requires_grad_(False)
        self.columns = agent.spaces.column_categories
        self.outputs = [(where.start, where.stop) for where in agent.spaces.column_outputs]
        self.flags = [(where.start, where.stop) for where in agent.spaces.column_masks]
        self.has_masks = agent.spaces.has_masks
        self.sends = message_columns(agent.spaces).tolist()
        self.noise_size = 0 if agent.acts_deterministically else agent.head.output_size
        spread = iter(agent.log_std.detach().exp().tolist())
        self.spread = [next(spread) if n == 0 else 0.0 for n in self.columns]
        columns = ActionColumns.of(agent.spaces.action_spaces[agent.name])
        self.register_buffer("low", th.as_tensor(columns.low))
        self.register_buffer("high", th.as_tensor(columns.high))
        self.eval()

    low: th.Tensor
    high: th.Tensor

    @property
    def state_size(self) -> int:
        """Size S of the memory; 0 without one."""
        return self.network.state_size if isinstance(self.network, RecurrentTeamNet) else 0

    @property
    def inputs(self) -> list[str]:
        """Names of the inputs, in order."""
        has = {"mask": self.has_masks, "state": self.state_size > 0, "noise": self.noise_size > 0}
        return ["observation", *(name for name, is_there in has.items() if is_there)]

    def forward(self, observation: th.Tensor, *more: th.Tensor) -> tuple[th.Tensor, ...]:
        """`action` [B, A], and `next_state` [B, S] of an agent with a memory.

        Args:
            observation: [B, F] float32.
            *more: The other `inputs`, in their order.
        """
        given = dict(zip(self.inputs[1:], more, strict=True))
        if isinstance(self.network, RecurrentTeamNet):
            outputs, state = self.network.step(observation, given["state"])
            return self._action(outputs, given.get("mask"), given.get("noise")), state
        return (self._action(self.network(observation), given.get("mask"), given.get("noise")),)

    def _action(self, outputs: th.Tensor, mask: th.Tensor | None, noise: th.Tensor | None) -> th.Tensor:
        columns = []
        for column, n in enumerate(self.columns):
            where = slice(*self.outputs[column])
            own = outputs[:, where]
            if noise is not None and not self.sends[column]:
                own = own + (_gumbel(noise[:, where]) if n else self.spread[column] * noise[:, where])
            if n == 0:
                columns.append(own.clamp(self.low[column], self.high[column]))
                continue
            if mask is not None:
                own = own.masked_fill(~mask[:, self.flags[column][0] : self.flags[column][1]], UNAVAILABLE)
            columns.append(own.argmax(dim=1, keepdim=True))
        return th.cat(columns, dim=1) if columns else outputs  # of an agent with nothing to choose: [B, 0]


def _gumbel(normal: th.Tensor) -> th.Tensor:
    """Gumbel noise from standard normal noise; zeros add the same to all categories.

    The category with the largest sum of logit and Gumbel noise is a sample of the distribution.
    """
    uniform = 0.5 + 0.5 * th.erf(normal / math.sqrt(2.0))
    return -th.log(-th.log(uniform.clamp(1e-7, 1.0 - 1e-7)))


@plain_torch()
def export(
    run_dir: Path | str, *, format: Format = "onnx", out: Path | str | None = None, trust: bool = False
) -> Path:
    """Write a run's students as one file for each agent, with a JSON file beside each that describes it.

    Files have the names of their agents; a name that no file can have (`team/0`) is written as in URLs
    (`team%2F0.onnx`). The JSON has the agent's own name in any case.

    The JSON describes how the environment's observation and mask become the file's inputs, and its output an
    action of the environment; `cesma_sb3.deploy.agent_json` lists its keys.

    Args:
        run_dir: A finished run's folder, or the name of a pretrained team.
        format: `onnx`, `torchscript`, or `sb3`: what `PPO.load` of SB3 reads (where actions are masked,
            `MaskablePPO.load` of sb3-contrib), of plain networks on Box observations alone.
        out: The folder, new or empty; None: `export/FORMAT` in the run folder
            (`RunFolder.outputs`), which is written anew.
        trust: Allow the folder to run the code that it names or holds, though it was made elsewhere.

    Returns:
        The folder.

    Raises:
        ConfigError: `out` holds something, or the format cannot hold these students.
        MissingExtraError: A package is not installed; what to install is given.
        StorageError: The run is incomplete, or a file is torn.
        UntrustedError: The students are of a class that the folder names, and it was not made here.
        UnknownNameError: There is no such format.
    """
    check_choice("format", format, get_args(Format))
    folder = RunFolder.open(run_dir, trust=trust)
    target = folder.outputs / "export" / format if out is None else as_path(out)
    if out is not None:
        check_free(target)
    team = load_students(folder)
    if not isinstance(team, TeamPolicy):
        raise ConfigError(
            f"{folder.path}: its students are an ensemble of {len(team.components)} teams (dagger.algorithm "
            f"{folder.experiment.dagger and folder.experiment.dagger.algorithm}), expected one team"
        )
    env = folder.experiment.env
    shares = declared_team(env.id, env.kwargs, declared_slices(env))
    joint = partition_indices(shares, team.team) if shares else {}
    wrappers = [{"name": wrapper.name, **wrapper.kwargs} for wrapper in env.wrappers]
    files: dict[str, bytes] = {}
    for name, stem in file_names(team.team.agents).items():
        agent = team.agent(name).cpu()
        file = f"{stem}{_SUFFIX[format]}"
        files[file] = _WRITERS[format](agent)
        program, draws_by_noise = AgentProgram(agent), format != "sb3"  # SB3 samples by itself
        about = {"cesma_agent": _VERSION, "agent": name, "file": file, "format": format} | describe(
            agent.spaces,
            inputs=[each for each in program.inputs if draws_by_noise or each != "noise"],
            state_size=program.state_size,
            noise_size=program.noise_size if draws_by_noise else 0,
            deterministic=agent.acts_deterministically,
            joint=joint.get(name),
            wrappers=wrappers,
        )
        files[f"{stem}.json"] = json.dumps(about, indent=2).encode()
    atomic.write_folder(target, files)
    return target


def _onnx(agent: AgentPolicy) -> bytes:
    program, written = AgentProgram(agent), io.BytesIO()
    outputs = ["action", *["next_state"] * (program.state_size > 0)]
    try:
        importlib.import_module("onnx")  # PyTorch would say in its own kind of error that it is missing
        with warnings.catch_warnings():  # the newer exporter needs onnxscript; these graphs are the same
            warnings.simplefilter("ignore")
            th.onnx.export(
                program,
                _example(program, agent.spaces),
                written,  # type: ignore[arg-type]  # this exporter writes into what is open, too
                input_names=program.inputs,
                output_names=outputs,
                dynamic_axes={name: {0: "batch"} for name in (*program.inputs, *outputs)},
                opset_version=17,
                dynamo=False,
            )
    except ImportError as error:
        raise missing_extra("format onnx", "onnx", error) from None
    return written.getvalue()


def _torchscript(agent: AgentPolicy) -> bytes:
    program, written = AgentProgram(agent), io.BytesIO()
    with warnings.catch_warnings(), th.no_grad():  # newer PyTorch wants another format; this was asked for
        warnings.simplefilter("ignore")
        th.jit.save(th.jit.trace(program, _example(program, agent.spaces)), written)
    return written.getvalue()


def _example(program: AgentProgram, own: TeamSpaces) -> tuple[th.Tensor, ...]:
    """Inputs for one observation, to trace the program with."""
    sizes = {"observation": own.observation_size, "mask": own.mask_size, "state": program.state_size}
    sizes["noise"] = program.noise_size
    kinds = {"mask": th.bool}
    return tuple(th.ones(1, sizes[name], dtype=kinds.get(name, th.float32)) for name in program.inputs)


def _sb3(agent: AgentPolicy) -> bytes:
    """The agent as an SB3 model: `PPO.load(file).predict(observation, deterministic=True)`.

    Where its actions are masked, a model of sb3-contrib: `MaskablePPO.load(file).predict(observation,
    action_masks=mask)`, of the observation without the mask.
    """
    bare, _ = without_mask(agent.spaces.observation_spaces[agent.name])
    actions = agent.spaces.action_spaces[agent.name]
    layers = list(agent.network) if isinstance(agent.network, nn.Sequential) else []
    if (other := _unknown_to_sb3(agent, bare, actions, layers)) is not None:
        raise ConfigError(
            f"format sb3: {agent.name} has {other} that SB3's policies do not know; expected feed-forward "
            "students and Box observations, or format onnx"
        )
    *hidden, last = [layer for layer in layers if isinstance(layer, nn.Linear)]
    activations = [type(layer) for layer in layers if not isinstance(layer, nn.Linear)]
    # The algorithm alone has a file format that every release of SB3 reads.
    model = (MaskablePPO if agent.spaces.has_masks else PPO)(
        "MlpPolicy",
        _Nowhere(bare, actions),
        n_steps=2,
        batch_size=2,
        device="cpu",
        policy_kwargs={
            "net_arch": {"pi": [layer.out_features for layer in hidden], "vf": []},
            "activation_fn": activations[0] if activations else nn.ReLU,
        },
    )
    policy: Any = model.policy
    theirs = [layer for layer in policy.mlp_extractor.policy_net if isinstance(layer, nn.Linear)]
    for ours, their in zip((*hidden, last), (*theirs, policy.action_net), strict=True):
        their.load_state_dict(ours.state_dict())
    if agent.head.n_continuous:
        policy.log_std.data.copy_(agent.log_std)
    written = io.BytesIO()
    model.save(written)
    return written.getvalue()


def _unknown_to_sb3(
    agent: AgentPolicy, bare: spaces.Space[Any], actions: spaces.Space[Any], layers: list[nn.Module]
) -> str | None:
    """What the agent has that SB3's own policies lack or compute otherwise; None if they compute the same."""
    columns = ActionColumns.of(actions)
    lacks = {
        "a network": not layers,
        "a structured observation": not isinstance(bare, spaces.Box),
        "an image as observation": is_image_space(bare),  # scaled and transposed there
        "a structured action": bool(columns.members),
        "switches (MultiBinary)": isinstance(actions, spaces.MultiBinary),  # one output a switch there
        "an action that is not counted from 0": columns.start.any(),
        "masked continuous actions": agent.spaces.has_masks and agent.head.n_continuous > 0,
    }
    return next((what for what, is_there in lacks.items() if is_there), None)


class _Nowhere(gymnasium.Env[Any, Any]):
    """An environment of spaces alone, for an algorithm that is never trained."""

    def __init__(self, observation_space: spaces.Space[Any], action_space: spaces.Space[Any]) -> None:
        self.observation_space, self.action_space = observation_space, action_space


_WRITERS: dict[str, Callable[[AgentPolicy], bytes]] = {
    "onnx": _onnx,
    "torchscript": _torchscript,
    "sb3": _sb3,
}
