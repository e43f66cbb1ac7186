"""Validation of packed joint actions against spaces and masks, before an environment carries them out."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from cesma_sb3.envs.joint_vec_env import JointVecEnv
from cesma_sb3.errors import InvalidActionError
from cesma_sb3.spaces.agent_spaces import is_whole
from cesma_sb3.spaces.team_spaces import TeamSpaces
from cesma_sb3.spaces.types import Flags, Masks, Packed
from cesma_sb3.utils.stateful import Stateful


class ActionValidator(Stateful):
    """Validates packed joint actions; an error names the agent, the environment and the step.

    Args:
        venv: Batched joint environment, whose current masks and alive flags the actions must fit.
    """

    state_attributes = ("_steps_B",)

    def __init__(self, venv: JointVecEnv) -> None:
        self.venv = venv
        self.rules = ActionRules(venv.team, replaces_unavailable=venv.replaces_unavailable)
        self._steps_B = np.zeros(venv.num_envs, dtype=np.int64)

    def advance(self, episode_starts: Flags | None) -> None:
        """Counts a step of every environment, for messages.

        Args:
            episode_starts: In which environments an episode begins, [B]; None: in all.
        """
        starts = True if episode_starts is None else episode_starts
        self._steps_B = np.where(starts, 0, self._steps_B + 1)

    def __call__(self, actions: Packed, who: str) -> Packed:
        """The actions [B, C], as `ActionRules` gives them back.

        Args:
            actions: Packed joint actions. Those of dead agents need not be available.
            who: What messages call the actor.

        Raises:
            InvalidActionError: As of `ActionRules`.
        """
        return self.rules(actions, self.venv.agent_masks, self.venv.alive, who, self._place)

    def _place(self, env: int) -> str:
        return f"environment {env}, step {self._steps_B[env]} of its episode"


class ActionRules:
    """What packed joint actions of a team must be: of the right shape, numbers, categories, and available.

    Args:
        team: The team.
        replaces_unavailable: Whether the first available category replaces one that is not; else it is
            refused.
    """

    def __init__(self, team: TeamSpaces, *, replaces_unavailable: bool) -> None:
        self.team = team
        self.replaces_unavailable = replaces_unavailable
        self._categories_C = np.array(self.team.column_categories)
        self._is_choice_C = self._categories_C > 0
        self._flags_C = np.array([flags.start for flags in self.team.column_masks])
        self._agents_C = np.repeat(
            np.arange(self.team.n_agents), [c.stop - c.start for c in self.team.action_columns]
        )

    def __call__(
        self, actions: Packed, masks: Masks | None, alive: Flags, who: str, place: Callable[[int], str]
    ) -> Packed:
        """The actions [B, C]; unavailable ones are replaced if that is wanted, else refused.

        Args:
            actions: Packed joint actions. Those of dead agents need not be available.
            masks: Available categories [B, M]; None: all.
            alive: Which agents are alive, [B, N].
            who: What messages call the actor.
            place: What messages call a row.

        Raises:
            InvalidActionError: The shape is wrong, or an entry is no number, no action of the agent, or not
                available.
        """
        wanted = (len(alive), self.team.n_columns)
        if np.shape(actions) != wanted:
            raise InvalidActionError(f"{who}: shape {np.shape(actions)}, expected {wanted}")
        with np.errstate(invalid="ignore"):
            chosen_BC = np.rint(actions)
            is_category_BC = (chosen_BC >= 0) & (chosen_BC < self._categories_C) & is_whole(actions)
            is_action_BC = np.isfinite(actions) & (~self._is_choice_C | is_category_BC)
        if not is_action_BC.all():
            row, column = np.argwhere(~is_action_BC)[0]
            n = self._categories_C[column]
            expected = f"expected 0 to {n - 1}" if n else "expected a finite number"
            raise InvalidActionError(f"{self._cell(actions, who, row, column, place)}: {expected}")
        done: Packed = actions
        if actions.dtype.kind == "f" and not self.team.is_continuous:  # categories written as floats
            rounded = np.where(self._is_choice_C, np.rint(actions), actions)
            done = rounded.astype(np.int64) if self.team.is_discrete else rounded.astype(np.float32)
        if masks is None:
            return done
        flags_BC = np.where(self._is_choice_C, self._flags_C + chosen_BC, 0).astype(np.int64)
        lives_BC = alive[:, self._agents_C]
        can_BC = ~self._is_choice_C | ~lives_BC | np.take_along_axis(masks, flags_BC, axis=1)
        if can_BC.all():
            return done
        done = done.copy()
        for row, column in np.argwhere(~can_BC):
            available = np.flatnonzero(masks[row, self.team.column_masks[column]])
            if not self.replaces_unavailable:
                left = ", ".join(map(str, available))
                raise InvalidActionError(
                    f"{self._cell(actions, who, row, column, place)}: not available; what is: {left}"
                )
            done[row, column] = available[0]
        return done

    def _cell(self, actions: Packed, who: str, row: int, column: int, place: Callable[[int], str]) -> str:
        agent = self.team.agents[self._agents_C[column]]
        return f"{who}: {actions[row, column]} for {agent} in {place(row)}"
