"""Validation of packed joint actions against spaces and masks, before an environment carries them out."""

from __future__ import annotations

import numpy as np

from cesma_sb3.envs.joint_vec_env import JointVecEnv
from cesma_sb3.errors import InvalidActionError
from cesma_sb3.spaces.agent_spaces import is_whole
from cesma_sb3.spaces.types import Array, Flags, Masks, Packed
from cesma_sb3.utils.stateful import Stateful


class ActionValidator(Stateful):
    """Validates packed joint actions; an error names the agent, the environment and the step.

    Args:
        venv: Batched joint environment, whose current masks and alive flags the actions must fit.
    """

    state_attributes = ("_steps_B",)

    def __init__(self, venv: JointVecEnv) -> None:
        self.venv = venv
        self.team = venv.team
        self._categories_C = np.array(self.team.column_categories)
        self._is_choice_C = self._categories_C > 0
        self._flags_C = np.array([flags.start for flags in self.team.column_masks])
        self._agents_C = np.repeat(
            np.arange(self.team.n_agents), [c.stop - c.start for c in self.team.action_columns]
        )
        self._steps_B = np.zeros(venv.num_envs, dtype=np.int64)

    def advance(self, episode_starts: Flags | None) -> None:
        """Counts a step of every environment, for messages.

        Args:
            episode_starts: In which environments an episode begins, [B]; None: in all.
        """
        starts = True if episode_starts is None else episode_starts
        self._steps_B = np.where(starts, 0, self._steps_B + 1)

    def __call__(self, actions: Packed, who: str) -> Packed:
        """The actions [B, C]; unavailable ones are replaced if the environment replaces them, else refused.

        Args:
            actions: Packed joint actions. Those of dead agents need not be available.
            who: What messages call the actor.

        Raises:
            InvalidActionError: The shape is wrong, or an entry is no number, no action of the agent, or not
                available.
        """
        wanted = (self.venv.num_envs, self.team.n_columns)
        if np.shape(actions) != wanted:
            raise InvalidActionError(f"{who}: shape {np.shape(actions)}, expected {wanted}")
        with np.errstate(invalid="ignore"):
            chosen_BC = np.rint(actions)
            is_category_BC = (chosen_BC >= 0) & (chosen_BC < self._categories_C) & is_whole(actions)
            is_action_BC = np.isfinite(actions) & (~self._is_choice_C | is_category_BC)
        if not is_action_BC.all():
            env, column = np.argwhere(~is_action_BC)[0]
            n = self._categories_C[column]
            expected = f"expected 0 to {n - 1}" if n else "expected a finite number"
            raise InvalidActionError(f"{self._place(actions, who, env, column)}: {expected}")
        done: Packed = actions
        if actions.dtype.kind == "f" and not self.team.is_continuous:  # categories written as floats
            rounded = np.where(self._is_choice_C, np.rint(actions), actions)
            done = rounded.astype(np.int64) if self.team.is_discrete else rounded.astype(np.float32)
        masks = self.venv.agent_masks
        return done if masks is None else self._available(done, chosen_BC, masks, who)

    def _available(self, actions: Packed, chosen_BC: Array, masks: Masks, who: str) -> Packed:
        flags_BC = np.where(self._is_choice_C, self._flags_C + chosen_BC, 0).astype(np.int64)
        lives_BC = self.venv.alive[:, self._agents_C]
        can_BC = ~self._is_choice_C | ~lives_BC | np.take_along_axis(masks, flags_BC, axis=1)
        if can_BC.all():
            return actions
        actions = actions.copy()
        for env, column in np.argwhere(~can_BC):
            available = np.flatnonzero(masks[env, self.team.column_masks[column]])
            if not self.venv.replaces_unavailable:
                left = ", ".join(map(str, available))
                raise InvalidActionError(
                    f"{self._place(actions, who, env, column)}: not available; what is: {left}"
                )
            actions[env, column] = available[0]
        return actions

    def _place(self, actions: Packed, who: str, env: int, column: int) -> str:
        agent = self.team.agents[self._agents_C[column]]
        where = f"environment {env}, step {self._steps_B[env]} of its episode"
        return f"{who}: {actions[env, column]} for {agent} in {where}"
