"""`FunctionExpert`: a function of joint observations, a network included, as an expert."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt
import torch as th

from cesma_sb3.errors import InvalidActionError, check_choice
from cesma_sb3.experts.controllers import ControllerCall, as_array
from cesma_sb3.experts.soft_labels import by_column, column_probabilities
from cesma_sb3.experts.wrappers import Sampler
from cesma_sb3.spaces.action_views import ActionView, JointActions, RelaxedActions
from cesma_sb3.spaces.agent_spaces import is_whole
from cesma_sb3.spaces.team_spaces import TeamSpaces
from cesma_sb3.spaces.types import Actor, Masks, Observations, Packed

Function = Callable[..., Any]
Outputs = Literal["actions", "logits"]


class FunctionExpert:
    """An expert whose labels are what a function returns for joint observations.

    With `outputs="logits"` it is a `SoftExpert` wherever the view's actions are categories, and a
    `StochasticExpert`: a draw takes each action with its softmax.

    Args:
        function: Joint observations [B, I] float32, and joint masks [B, M] bool or None if it takes them (see
            `mask_parameter`), to `outputs`. Of a tuple of results the first counts. It is given
            copies of the arrays.
        team: The team that it controls.
        view: The action view of what it returns.
        outputs: `actions`: actions of the view [B, ...]. `logits`: a number for each action of a `product` or
            `one-at-a-time` view [B, n], else for each category (and each continuous action) of the team
            [B, output_size]; the largest is done. DQN's values are such numbers.
        name: What errors call it; None: the function's name.

    Raises:
        UnknownNameError: `outputs` is neither.
        ExpertError: The function needs other arguments.
    """

    def __init__(
        self,
        function: Function,
        team: TeamSpaces,
        view: ActionView,
        *,
        outputs: Outputs = "actions",
        name: str | None = None,
    ) -> None:
        check_choice("output", outputs, get_args(Outputs))
        self.function = function
        self.team = team
        self.view = view
        self.outputs = outputs
        self.name = name or str(getattr(function, "__qualname__", type(function).__name__))
        self._asked = ControllerCall(function, self.name, has_masks=team.has_masks)
        self._ranks_columns = isinstance(view, JointActions | RelaxedActions)
        # Only on the object, so that `isinstance(..., SoftExpert)` is true of what the expert can do.
        self.sampler: Sampler | None = None
        if outputs == "logits" and not team.is_continuous:
            self.probabilities = self._probabilities
            self.sampler = self._sampler

    def labels(self, observations: Observations, masks: Masks | None = None) -> Packed:
        """The joint action of what the function returns (`Expert.labels`).

        Raises:
            InvalidActionError: The function returned something that is no such output, or no action of the
                team.
        """
        found = self._call(observations, masks)
        if self.outputs == "logits":
            return self._greedy(found, masks)
        actions = self._checked(found, self.view.space.shape)
        if self.view.space.dtype == np.int64 and not (whole := is_whole(actions)).all():
            raise InvalidActionError(f"{self.name}: action {actions[~whole][0]:g}, expected whole numbers")
        packed = self.view.decode(actions)
        self._check_categories(packed)
        return packed

    def _greedy(self, logits: npt.NDArray[Any], masks: Masks | None) -> Packed:
        logits = self._checked(logits, (self._n_logits,))
        if self._ranks_columns:
            return self._relaxed.decode(logits, masks)
        if masks is not None:
            logits = np.where(self.view.masks(masks), logits, -np.inf)
        return self.view.decode(logits.argmax(axis=1))

    def _sampler(self, rng: np.random.Generator) -> Actor:
        """An actor that samples each action by the softmax of its logits (`StochasticExpert.sampler`)."""
        is_logit = np.ones(self._n_logits, dtype=bool)
        if self._ranks_columns:  # the numbers of continuous columns are what is done
            sizes = [max(n, 1) for n in self.team.column_categories]
            is_logit = np.repeat(np.array(self.team.column_categories) > 0, sizes)

        def act(observations: Observations, masks: Masks | None) -> Packed:
            logits = self._call(observations, masks)
            noise = rng.gumbel(size=(len(observations), self._n_logits))  # the largest sum is a draw
            return self._greedy(
                self._checked(logits, (self._n_logits,)) + np.where(is_logit, noise, 0.0), masks
            )

        return act

    @property
    def _relaxed(self) -> RelaxedActions:
        return self.view if isinstance(self.view, RelaxedActions) else RelaxedActions(self.team)

    @property
    def _n_logits(self) -> int:
        return self.team.output_size if self._ranks_columns else int(getattr(self.view.space, "n", 0))

    def _probabilities(
        self, observations: Observations, masks: Masks | None = None, *, temperature: float = 1.0
    ) -> npt.NDArray[np.float32]:
        """The distribution of each categorical action column (`SoftExpert.probabilities`)."""
        logits = self._checked(self._call(observations, masks), (self._n_logits,))
        tensor = th.as_tensor(logits, dtype=th.float32)
        if self._ranks_columns:
            flat = column_probabilities(tensor, self.team, temperature)
        else:
            flat = th.softmax(tensor / temperature, dim=-1)
        return by_column(flat.numpy(), self.view, masks)

    def _call(self, observations: Observations, masks: Masks | None) -> npt.NDArray[Any]:
        return as_array(self._asked(observations, masks), self.name)

    def _checked(self, found: npt.NDArray[Any], shape: tuple[int, ...] | None) -> npt.NDArray[Any]:
        """An action or row of logits for each observation, whichever of the usual shapes it came in."""
        assert shape is not None
        if found.shape[1:] == (1,) and shape == ():  # what a Discrete action is in some exports
            found = found[:, 0]
        if found.ndim == 0 or found.shape[1:] != shape:
            are_logits = self.outputs != "logits" and found.shape[1:] == (self._n_logits,)
            hint = "; a number for each choice is expert.outputs: logits" if are_logits else ""
            raise InvalidActionError(
                f"{self.name}: returned {self.outputs} of shape {found.shape}, expected (B, "
                f"{', '.join(map(str, shape))}) in the action view {self.view.name!r}".replace(", )", ")")
                + hint
            )
        if not np.isfinite(found).all():
            raise InvalidActionError(f"{self.name}: returned {found[~np.isfinite(found)][0]}")
        return found

    def _check_categories(self, packed: Packed) -> None:
        for agent, columns in zip(self.team.agents, self.team.action_columns, strict=True):
            for column in range(columns.start, columns.stop):
                n = self.team.column_categories[column]
                wrong = (packed[:, column] < 0) | (packed[:, column] >= n)
                if n and wrong.any():
                    value = packed[wrong, column][0]
                    raise InvalidActionError(
                        f"{self.name}: action {value:g} for {agent}, expected 0 to {n - 1}"
                    )
