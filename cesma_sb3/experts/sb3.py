"""An SB3 (or sb3-contrib) algorithm or policy as an expert."""

from __future__ import annotations

import inspect
from contextlib import nullcontext
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import torch as th
from gymnasium import spaces
from sb3_contrib.common.maskable.policies import MaskableActorCriticPolicy
from sb3_contrib.common.recurrent.policies import RecurrentActorCriticPolicy
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.policies import ActorCriticPolicy, BasePolicy
from stable_baselines3.common.vec_env import VecNormalize

from cesma_sb3.errors import ExpertError, InvalidActionError, error_line
from cesma_sb3.experts.observation_forms import form_of
from cesma_sb3.experts.soft_labels import by_column, model_probabilities
from cesma_sb3.policies.networks.eval_mode import eval_mode
from cesma_sb3.policies.sampling import sampling_with
from cesma_sb3.policies.stateful_actor import DeviceState, MemoryActor, predict_on_device
from cesma_sb3.policies.team_policy import TeamPolicy
from cesma_sb3.spaces.action_views import ActionView
from cesma_sb3.spaces.agent_spaces import are_equal
from cesma_sb3.spaces.team_spaces import TeamSpaces
from cesma_sb3.spaces.types import Masks, Observations, Packed
from cesma_sb3.utils.torch_defaults import plain_torch


class SB3Expert:
    """An expert whose labels are the deterministic actions of an SB3 model.

    It is a `StochasticExpert` where the model's policy is a distribution (PPO, A2C, TRPO, SAC and their kin),
    and a `RecurrentExpert` where the model has a memory; `labels` then takes each observation for an
    episode's first.

    Args:
        model: A trained algorithm, or its policy alone.
        team: The team that it controls.
        view: The action view in which it acts (`joint`, `product`, `relaxed`, ...).
        normalization: Statistics that its observations are normalized by. None: those of the algorithm's own
            `VecNormalize`, if it has one.

    Raises:
        ExpertError: The model's spaces are not those of the team in this view; both are named. Observations
            may be in any form that `form_of` knows.
    """

    def __init__(
        self,
        model: BaseAlgorithm | BasePolicy,
        team: TeamSpaces,
        view: ActionView,
        *,
        normalization: VecNormalize | None = None,
    ) -> None:
        self.model = model
        self.policy: BasePolicy = model.policy if isinstance(model, BaseAlgorithm) else model
        self.team = team
        self.view = view
        if normalization is None and isinstance(model, BaseAlgorithm):
            normalization = model.get_vec_normalize_env()
        self.normalization = normalization
        problem = space_problem(model, team, view)
        form = form_of(model.observation_space, team)
        if problem is not None or form is None:
            raise ExpertError(str(problem))
        self._form = form
        for name, weight in self.policy.named_parameters():
            if not bool(th.isfinite(weight).all()):
                kind = type(model).__name__
                raise ExpertError(f"{kind}: its weights {name} hold numbers that are not finite: it diverged")
        # Only on the object, so that `isinstance(..., RecurrentExpert)` is true of what the model can do.
        if has_memory(model):
            self.actor = self._actor
        self.sampler = self._sampler if is_stochastic(self.policy) else None
        # A Gaussian whose numbers are ranked or rounded is another distribution than its `probabilities`.
        self.draws_from_probabilities = isinstance(self.policy, TeamPolicy) or not isinstance(
            view.space, spaces.Box
        )

    def labels(self, observations: Observations, masks: Masks | None = None) -> Packed:
        """The model's deterministic joint action (`Expert.labels`)."""
        return self._step(observations, None, None, masks)[0]

    def _actor(self) -> MemoryActor:
        return MemoryActor(self._step)

    def _sampler(self, rng: np.random.Generator) -> MemoryActor:
        return MemoryActor(partial(self._step, rng=rng))

    @plain_torch()
    def _step(
        self,
        observations: Observations,
        state: DeviceState | None,
        starts: Masks | None,
        masks: Masks | None,
        rng: np.random.Generator | None = None,
    ) -> tuple[Packed, DeviceState | None]:
        """Actions and the state for the next step; deterministic, or drawn with a generator."""
        seen, arguments = self.seen(observations), self.mask_arguments(masks)
        drawn = nullcontext() if rng is None else sampling_with(rng, self.policy.device)
        with eval_mode(self.policy), drawn:
            explorer: Any = getattr(self.policy, "actor", self.policy)  # SAC's actor has the noise itself
            if rng is not None and getattr(explorer, "use_sde", False):
                explorer.reset_noise(len(seen))
            given: dict[str, Any] = {"deterministic": rng is None, **arguments}
            try:
                actions, state = predict_on_device(self.model)(seen, state, starts, **given)
            except Exception as error:  # whatever a user's model raises
                raise InvalidActionError(
                    f"{type(self.model).__name__}.predict raised {error_line(error)}"
                ) from error
        return self.view.decode(actions, masks), state

    def seen(self, observations: Observations) -> Any:
        """Joint observations [B, I] in the model's form, normalized if it was trained so."""
        formed = self._form(observations)  # the model's own: a features extractor may write into it
        if self.normalization is None:
            return formed
        normalized: Any = self.normalization.normalize_obs(formed)
        if isinstance(normalized, dict):
            return {key: np.asarray(each, dtype=np.float32) for key, each in normalized.items()}
        return np.asarray(normalized, dtype=np.float32)

    def mask_arguments(self, masks: Masks | None) -> dict[str, Any]:
        """Joint masks [B, mask_size] as the argument of `predict` that maskable models take."""
        if masks is None or not _takes_masks(self.model):
            return {}
        return {"action_masks": self.view.masks(masks)}

    @plain_torch()
    def probabilities(
        self, observations: Observations, masks: Masks | None = None, *, temperature: float = 1.0
    ) -> npt.NDArray[np.float32]:
        """The distribution of each categorical action column (`SoftExpert.probabilities`).

        It is made by `model_probabilities` of a distribution, values or logits.

        Raises:
            ExpertError: This kind of model has neither a distribution over categories nor values.
        """
        with th.no_grad(), eval_mode(self.policy):
            tensor, _ = self.policy.obs_to_tensor(self.seen(observations))
            flat = model_probabilities(self.policy, tensor, self.view, temperature)
        return by_column(flat.cpu().numpy().astype(np.float32), self.view, masks)


def has_memory(model: BaseAlgorithm | BasePolicy) -> bool:
    """Whether what a model does depends on what it saw before."""
    policy = model.policy if isinstance(model, BaseAlgorithm) else model
    return isinstance(policy, RecurrentActorCriticPolicy) or bool(getattr(policy, "is_recurrent", False))


def space_problem(model: BaseAlgorithm | BasePolicy, team: TeamSpaces, view: ActionView | None) -> str | None:
    """How the model's spaces differ from those of the team in a view, naming both; None where they do not.

    Args:
        model: Any of SB3's.
        team: The team.
        view: None: only observations are compared.
    """
    has, wanted = model.observation_space, team.observation_space
    if form_of(has, team) is None:
        return (
            f"{type(model).__name__}: its observation space is {has}, the team's is {wanted} (or a row, or a "
            f"Dict's member, for each of {', '.join(team.agents)})"
        )
    if view is not None and not are_equal(model.action_space, view.space):
        return (
            f"{type(model).__name__}: its action space is {model.action_space}, the team's in the action "
            f"view {view.name!r} is {view.space}"
        )
    return None


def is_stochastic(policy: BasePolicy) -> bool:
    """Whether it is trained as a distribution, as values (DQN) and actors of DDPG, TD3 and ARS are not."""
    if isinstance(policy, ActorCriticPolicy | MaskableActorCriticPolicy):
        return True
    return hasattr(getattr(policy, "actor", None), "action_dist")  # of SAC and what derives from it


def _takes_masks(model: BaseAlgorithm | BasePolicy) -> bool:
    """Whether `predict` has an argument `action_masks`, also where it was wrapped or overridden.

    One that hands on whatever it is given (`*args, **kwargs`) takes what the class's own takes.
    """
    own = [vars(kind)["predict"] for kind in type(model).__mro__ if "predict" in vars(kind)]
    for predict in (model.predict, *own):
        parameters = inspect.signature(predict).parameters
        if "action_masks" in parameters:
            return True
        if not any(each.kind is each.VAR_KEYWORD for each in parameters.values()):
            return False
    return False
