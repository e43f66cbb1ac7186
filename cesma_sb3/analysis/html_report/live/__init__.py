"""The live part of the page of a team: its own networks act in the browser, in a particle world.

The scripts beside this file are plain JavaScript without dependencies: the physics (`world.js`), the
scenarios (`scenarios.js`), the networks and what agents decide by them (`agents.js`), the picture
(`stage.js`) and the rest of the page's part (`live.js`). `tests/page/test_live.py` holds them equal to
Python.
"""

from __future__ import annotations

import base64
import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from cesma_sb3.envs.particle.registry import SCENARIOS, make_scenario
from cesma_sb3.envs.particle.rendering import LANDMARK, TOUCHING, VIEW, agent_color
from cesma_sb3.envs.particle.scenario import Scenario
from cesma_sb3.policies import TeamPolicy
from cesma_sb3.policies.networks.entities import EntityNet
from cesma_sb3.training.load import load_students
from cesma_sb3.training.run_folder import RunFolder

ACTIVATIONS = ("ReLU", "LeakyReLU", "ELU", "Tanh", "Sigmoid", "SiLU")
"""What `agents.js` computes."""
_SCRIPTS = ("world.js", "scenarios.js", "agents.js", "stage.js", "live.js")
_N_COLORS = 24

_Json = dict[str, Any]


def scripts() -> list[str]:
    """Return the texts of the scripts in the order in which a page runs them."""
    return [(Path(__file__).parent / name).read_text(encoding="utf-8") for name in _SCRIPTS]


def live_team(folder: RunFolder) -> _Json | None:
    """Return what the scripts need to play the students of a run; None if they cannot.

    They can play this package's own particle scenarios, without wrappers and other players, and feed-forward
    networks and networks over entities with one of `ACTIVATIONS`.

    Args:
        folder: The folder of a finished run.

    Raises:
        StorageError: The run has no students, or a file is damaged.
        UntrustedError: The students are of a class that the folder names, and it was not made here.
    """
    env = folder.experiment.env
    if env.id not in SCENARIOS or env.wrappers or env.agents:
        return None
    team = load_students(folder)
    if not isinstance(team, TeamPolicy):
        return None
    scenario = make_scenario(env.id, **env.kwargs)
    steps = min(scenario.max_cycles, env.max_steps or scenario.max_cycles)
    return describe(scenario, team, team_reward=env.team_reward or "shared", episode_steps=steps)


def describe(
    scenario: Scenario, team: TeamPolicy, *, team_reward: str = "shared", episode_steps: int = 25
) -> _Json | None:
    """Return a scenario and a team that plays it, as the scripts read them; None if they cannot.

    Args:
        scenario: One of `SCENARIOS`.
        team: Its agents are the scenario's.
        team_reward: `shared`, `sum` or `mean` of the agents' rewards.
        episode_steps: Steps of an episode.
    """
    spec = team.spec
    if spec.kind not in ("feed-forward", "entities") or spec.activation.__name__ not in ACTIVATIONS:
        return None
    if spec.kind == "entities" and spec.topology != "complete":  # plain networks hold it in their weights
        return None
    tensors = _Tensors()
    agents = [team.agent(body.name) for body in scenario.agents]
    networks = [_network(agent.network, team, tensors) for agent in agents]
    known = [network for n, network in enumerate(networks) if network not in networks[:n]]
    return {
        "scenario": scenario.name,
        "agents": [dataclasses.asdict(body) for body in scenario.agents],
        "landmarks": [dataclasses.asdict(body) for body in scenario.landmarks],
        "message_size": scenario.message_size,
        "continuous": scenario.continuous_actions,
        "reward": {
            "shared": scenario.shared_reward,
            "local_ratio": getattr(scenario, "local_ratio", 0.0),
        },
        "team_reward": team_reward,
        "episode_steps": episode_steps,
        "acts_deterministically": team.acts_deterministically,
        "spread": [agent.log_std.exp().tolist() for agent in agents],
        "networks": known,
        "network_of": [known.index(network) for network in networks],
        "tensors": tensors.all,
        "view": VIEW,
        "colors": {
            "agents": [_css(agent_color(number)) for number in range(_N_COLORS)],
            "landmark": _css(LANDMARK),
            "touching": _css(TOUCHING),
        },
    }


class _Tensors:
    """Arrays of float32 as base64, each of them once."""

    def __init__(self) -> None:
        self.all: list[_Json] = []
        self._numbers: dict[tuple[tuple[int, ...], str], int] = {}

    def number(self, array: np.ndarray[Any, Any]) -> int:
        """Return the place of an array in `all`."""
        data = base64.b64encode(array.astype("<f4").tobytes()).decode()
        key = (array.shape, data)
        if key not in self._numbers:
            self._numbers[key] = len(self.all)
            self.all.append({"shape": list(array.shape), "data": data})
        return self._numbers[key]


def _network(network: nn.Module, team: TeamPolicy, tensors: _Tensors) -> _Json:
    """Return one agent's network as `AgentNetwork` of `agents.js` reads it."""
    weights = {name: tensors.number(weight.cpu().numpy()) for name, weight in network.state_dict().items()}
    known = {"kind": team.spec.kind, "activation": team.spec.activation.__name__, "weights": weights}
    if not isinstance(network, EntityNet):
        return known
    reader = network.reader
    return known | {
        "groups": list(reader.groups),
        "teammates": reader.teammates,
        "use_agent_id": reader.use_agent_id,
        "n_agents": team.team.n_agents,
        "n_neighbours": reader.n_neighbours,
    }


def _css(color: tuple[int, int, int]) -> str:
    return "#{:02x}{:02x}{:02x}".format(*color)
