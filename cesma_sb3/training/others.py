"""Who plays the other agents of a game of which a run trains one side: `env.others`, by its name."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np

from cesma_sb3.config.resolve import others_controller
from cesma_sb3.config.schema import RANDOM, EnvConfig
from cesma_sb3.envs.one_side import Side, random_others
from cesma_sb3.errors import CesmaError, ConfigError, SpaceError, StorageError, unknown_name
from cesma_sb3.evaluation.actors import TeamActor
from cesma_sb3.experts import adapt_expert, make_actor
from cesma_sb3.policies import TeamEnsemble, TeamPolicy, load_team
from cesma_sb3.spaces.agent_spaces import are_equal
from cesma_sb3.spaces.team_spaces import TeamSpaces
from cesma_sb3.spaces.team_views import larger_view
from cesma_sb3.spaces.types import Actor, Flags
from cesma_sb3.training.experiment_files import names_a_team, team_folder
from cesma_sb3.training.pretrained_teams import find_run, list_pretrained


def declared_side(env: EnvConfig) -> Side | None:
    """Returns whose side of a game an experiment trains, and who plays the rest; None where all are the team.

    Raises:
        ConfigError: `env.others` names nothing; the message has the nearest name.
        StorageError: It is a folder that holds no team.
    """
    if env.agents is None or env.others is None:
        return None
    if env.others == RANDOM:
        return Side(env.agents, random_others)
    if not names_a_team(env.others):
        others_controller(env)  # what is wrong with its name is said before there are processes
        return Side(env.agents, NamedOthers(env))
    find_team(env.others)
    return Side(env.agents, NamedOthers(env))


def find_team(others: str) -> Path:
    """Returns the folder of the team that `env.others` names.

    Raises:
        ConfigError: There is no such folder; the message has the nearest name.
        StorageError: The path leads to no folder, or to that of a run without students.
    """
    folder = team_folder(others)
    if folder.is_dir():
        return folder
    if folder.parent.is_dir() and folder.parent == find_run(others):
        raise StorageError(
            f"env.others: {others}: this run has no students; `cesma run --resume` finishes it"
        )
    if Path(others).name != others:
        raise StorageError(f"env.others: {others}: no such folder")
    names = (RANDOM, *list_pretrained())
    raise ConfigError(f"env.others: {unknown_name('team', others, names)}, module:name, or a folder")


@dataclasses.dataclass(frozen=True)
class NamedOthers:
    """Plays the others as `env.others` says; each process of environments makes its own from the name."""

    env: EnvConfig

    def __call__(self, team: TeamSpaces, rng: np.random.Generator) -> Actor:
        """Makes the actor of the others.

        Raises:
            CesmaError: Who is named does not fit the others' spaces; one line names both.
        """
        assert self.env.others is not None
        try:
            if names_a_team(self.env.others):
                return SavedTeamActor(find_team(self.env.others), team, rng)
            expert = adapt_expert(others_controller(self.env), team)
        except CesmaError as error:
            raise type(error)(f"env.others: {str(error).removeprefix('env.others: ')}") from None
        sampler = getattr(expert, "sampler", None)
        actor: Actor = make_actor(expert) if sampler is None else sampler(rng)
        return actor


class SavedTeamActor(TeamActor):
    """A saved team, or some of its agents, acting for agents of the same names; each on its own observation.

    Args:
        folder: As `save_team` writes it.
        team: The agents that it acts for.
        rng: Draws the actions, where the team samples, and who acts, in an ensemble.

    Raises:
        StorageError: The folder holds no such team.
        SpaceError: An agent has no namesake in it, or one with other spaces; or its agents see each other's
            observations.
    """

    def __init__(self, folder: Path, team: TeamSpaces, rng: np.random.Generator) -> None:
        policy = load_team(folder)
        first = policy if isinstance(policy, TeamPolicy) else policy.component(0)
        if first.actor_visibility != "own":
            raise SpaceError(f"{folder}: its agents see all observations, expected a team of `own` actors")
        _check_namesakes(policy.team, team, folder)
        self._policy, self._rng = policy, rng
        actor = policy.actor(None if policy.acts_deterministically else rng)
        super().__init__(actor, team, larger_view(team, policy.team).actor(actor))

    def reset(self, episode_starts: Flags | None) -> None:
        """Forgets the episodes that have ended, as `reset_actor` says."""
        if episode_starts is None and isinstance(self._policy, TeamEnsemble):
            self._policy.seed = int(self._rng.integers(2**31))
        super().reset(episode_starts)


def _check_namesakes(saved: TeamSpaces, team: TeamSpaces, folder: Path) -> None:
    """Refuses a saved team that has no agent of this name, or one with other spaces."""
    for name in team.agents:
        if name not in saved.agents:
            raise SpaceError(f"{folder}: {unknown_name('agent', name, saved.agents)}")
        for kind in ("observation", "action"):
            own, game = (getattr(each, f"{kind}_spaces")[name] for each in (saved, team))
            if not are_equal(own, game):
                raise SpaceError(f"{folder}: the {kind} space of its {name} is {own}, the game's is {game}")
