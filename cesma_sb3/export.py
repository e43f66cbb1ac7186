"""`export`: one file for each agent, which runs where this package is not installed.

An exported agent is greedy. Its inputs are `observation` [B, F] float32, then `mask` [B, M] bool where
actions can be unavailable, then `state` [B, S] float32 where it has a memory (zeros when an episode begins).
Its outputs are `action` [B, A], packed as the file beside it says, and `next_state` where it has a memory.
"""

from __future__ import annotations

import copy
import importlib
import io
import json
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, get_args

import gymnasium
import numpy as np
import torch as th
from gymnasium import spaces
from stable_baselines3 import PPO
from torch import nn

from cesma_sb3 import _atomic
from cesma_sb3._file_names import as_path, file_names
from cesma_sb3._torch import plain_torch
from cesma_sb3.errors import ConfigError, MissingExtraError, check_choice
from cesma_sb3.joint.agent_spaces import ActionColumns
from cesma_sb3.joint.spaces import TeamSpaces
from cesma_sb3.networks import AgentPolicy, TeamPolicy
from cesma_sb3.networks.head import UNAVAILABLE
from cesma_sb3.networks.recurrent import RecurrentTeamNet
from cesma_sb3.runs import RunFolder, check_free
from cesma_sb3.stored import load_students

Format = Literal["onnx", "torchscript", "sb3"]
_SUFFIX = {"onnx": ".onnx", "torchscript": ".pt", "sb3": ".zip"}
_VERSION = 1


class AgentProgram(nn.Module):
    """An agent as tensors in, tensors out: see the module.

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
        columns = ActionColumns.of(agent.spaces.action_spaces[agent.name])
        self.register_buffer("low", th.as_tensor(columns.low))
        self.register_buffer("high", th.as_tensor(columns.high))
        self.eval()

    low: th.Tensor
    high: th.Tensor

    @property
    def state_size(self) -> int:
        """S; 0 without a memory."""
        return self.network.state_size if isinstance(self.network, RecurrentTeamNet) else 0

    @property
    def inputs(self) -> list[str]:
        """Names of what it takes, in order."""
        return ["observation", *["mask"] * self.has_masks, *["state"] * (self.state_size > 0)]

    def forward(self, observation: th.Tensor, *more: th.Tensor) -> tuple[th.Tensor, ...]:
        """See the module."""
        given = dict(zip(self.inputs[1:], more, strict=True))
        if isinstance(self.network, RecurrentTeamNet):
            outputs, state = self.network.step(observation, given["state"])
            return self._action(outputs, given.get("mask")), state
        return (self._action(self.network(observation), given.get("mask")),)

    def _action(self, outputs: th.Tensor, mask: th.Tensor | None) -> th.Tensor:
        columns = []
        for column, n in enumerate(self.columns):
            own = outputs[:, self.outputs[column][0] : self.outputs[column][1]]
            if n == 0:
                columns.append(own.clamp(self.low[column], self.high[column]))
                continue
            if mask is not None:
                own = own.masked_fill(~mask[:, self.flags[column][0] : self.flags[column][1]], UNAVAILABLE)
            columns.append(own.argmax(dim=1, keepdim=True))
        return th.cat(columns, dim=1) if columns else outputs  # of an agent with nothing to choose: [B, 0]


@plain_torch()
def export(
    run_dir: Path | str, *, format: Format = "onnx", out: Path | str | None = None, trust: bool = False
) -> Path:
    """Writes a run's students as one file for each agent, and a JSON file beside each that says what it is.

    Files are called as their agents are; where a file cannot have that name (`team/0`), it is written as in
    URLs (`team%2F0.onnx`). The JSON has the agent's own name in any case.

    The JSON has the layout of the observation, what each column of the action means, who is heard and what is
    said, and the size of the memory.

    Args:
        run_dir: A finished run's folder.
        format: `onnx`, `torchscript`, or `sb3`: what `PPO.load` of SB3 reads, of plain networks alone.
        out: The folder, new or empty; None: `export/FORMAT` in the run folder, which is written anew.
        trust: That the folder may run the code that it names or holds, though it was made elsewhere.

    Returns:
        The folder.

    Raises:
        ConfigError: `out` holds something, or these students cannot be had in this format.
        MissingExtraError: A package is not installed; what to install is given.
        StorageError: The run is incomplete, or a file is torn.
        UntrustedError: The students are of a class that the folder names, and it was not made here.
        UnknownNameError: There is no such format.
    """
    check_choice("format", format, get_args(Format))
    folder = RunFolder.open(run_dir, trust=trust)
    target = folder.path / "export" / format if out is None else as_path(out)
    if out is not None:
        check_free(target)
    team = load_students(folder)
    if not isinstance(team, TeamPolicy):
        raise ConfigError(
            f"{folder.path}: its students are an ensemble of {len(team.components)} teams (dagger.algorithm "
            f"{folder.experiment.dagger and folder.experiment.dagger.algorithm}), expected one team"
        )
    files: dict[str, bytes] = {}
    for name, stem in file_names(team.team.agents).items():
        agent = team.agent(name).cpu()
        file = f"{stem}{_SUFFIX[format]}"
        files[file] = _WRITERS[format](agent)
        files[f"{stem}.json"] = json.dumps(describe(agent, format, file), indent=2).encode()
    _atomic.write_folder(target, files)
    return target


def describe(agent: AgentPolicy, format: Format, file: str) -> dict[str, Any]:
    """What somebody must know who runs an exported agent: plain values.

    Args:
        agent: The policy.
        format: Of the file.
        file: Its name.
    """
    own, name, program = agent.spaces, agent.name, AgentProgram(agent)
    layout = own.layouts[name]
    entries = []
    for part in layout.observation.parts:
        where = layout.observation.slice(part.name)
        entries.append(
            {"name": part.name, "kind": part.kind, "start": where.start, "stop": where.stop}
            | {"count": part.count, "size": part.size}
        )
    columns = ActionColumns.of(own.action_spaces[name])
    meanings = {part.column: part for part in layout.action}
    acts = []
    for column, n in enumerate(columns.categories):
        meaning = meanings.get(column)
        kind = (
            {"name": meaning.name, "kind": meaning.kind} if meaning else {"name": f"{column}", "kind": "move"}
        )
        values = (
            {"categories": n, "first": int(columns.start[column])}
            if n
            else {"low": _number(columns.low[column]), "high": _number(columns.high[column])}
        )
        acts.append(kind | values)
    return {
        "cesma_agent": _VERSION,
        "agent": name,
        "file": file,
        "format": format,
        "inputs": program.inputs,
        "observation": {"size": own.observation_size, "dtype": "float32", "parts": entries},
        "action": {
            "size": own.n_columns,
            "dtype": "int64" if own.is_discrete else "float32",
            "space": str(own.action_spaces[name]),
            "columns": acts,
        },
        "mask": {"size": own.mask_size} if own.has_masks else None,
        "state": {"size": program.state_size, "begins_with": 0.0} if program.state_size else None,
        "messages": {
            "heard": [part["name"] for part in entries if part["kind"] == "message"],
            "said": [part["name"] for part in acts if part["kind"] == "message"],
        },
    }


def _number(value: np.floating[Any]) -> float | None:
    return float(value) if np.isfinite(value) else None


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
        raise MissingExtraError(f"format onnx: {error}; try: pip install 'cesma-sb3[onnx]'") from None
    return written.getvalue()


def _torchscript(agent: AgentPolicy) -> bytes:
    program, written = AgentProgram(agent), io.BytesIO()
    with warnings.catch_warnings(), th.no_grad():  # newer PyTorch wants another format; this was asked for
        warnings.simplefilter("ignore")
        th.jit.save(th.jit.trace(program, _example(program, agent.spaces)), written)
    return written.getvalue()


def _example(program: AgentProgram, own: TeamSpaces) -> tuple[th.Tensor, ...]:
    """Inputs of one world, to trace the program with."""
    sizes = {"observation": own.observation_size, "mask": own.mask_size, "state": program.state_size}
    kinds = {"mask": th.bool}
    return tuple(th.ones(1, sizes[name], dtype=kinds.get(name, th.float32)) for name in program.inputs)


def _sb3(agent: AgentPolicy) -> bytes:
    """The agent as SB3's own: `PPO.load(file).predict(observation, deterministic=True)`."""
    space = agent.spaces.observation_spaces[agent.name]
    layers = list(agent.network) if isinstance(agent.network, nn.Sequential) else []
    if not layers or not isinstance(space, spaces.Box):
        other = "a masked or structured observation" if layers else "a network"
        raise ConfigError(
            f"format sb3: {agent.name} has {other} that SB3's policies do not know; expected feed-forward "
            "students and Box observations, or format onnx"
        )
    *hidden, last = [layer for layer in layers if isinstance(layer, nn.Linear)]
    activations = [type(layer) for layer in layers if not isinstance(layer, nn.Linear)]
    model = PPO(  # the algorithm alone has a file format that every release of SB3 reads
        "MlpPolicy",
        _Nowhere(space, agent.spaces.action_spaces[agent.name]),
        n_steps=2,
        batch_size=2,
        device="cpu",
        policy_kwargs={
            "net_arch": {"pi": [layer.out_features for layer in hidden], "vf": []},
            "activation_fn": activations[0] if activations else nn.ReLU,
        },
    )
    policy = model.policy
    theirs = [layer for layer in policy.mlp_extractor.policy_net if isinstance(layer, nn.Linear)]
    for ours, their in zip((*hidden, last), (*theirs, policy.action_net), strict=True):
        their.load_state_dict(ours.state_dict())
    if agent.head.n_continuous:
        policy.log_std.data.copy_(agent.log_std)
    written = io.BytesIO()
    model.save(written)
    return written.getvalue()


class _Nowhere(gymnasium.Env[Any, Any]):
    """Spaces, for an algorithm that is never trained."""

    def __init__(self, observation_space: spaces.Space[Any], action_space: spaces.Space[Any]) -> None:
        self.observation_space, self.action_space = observation_space, action_space


_WRITERS: dict[str, Callable[[AgentPolicy], bytes]] = {
    "onnx": _onnx,
    "torchscript": _torchscript,
    "sb3": _sb3,
}
