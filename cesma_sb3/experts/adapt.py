"""`adapt_expert`: any controller as an `Expert`: models, functions, networks, objects, one for each agent."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any

import numpy as np
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.vec_env import VecNormalize
from torch import nn

from cesma_sb3.errors import ActionViewError, ExpertError, SpaceError
from cesma_sb3.experts.base import Expert
from cesma_sb3.experts.controllers import Network, required_arguments
from cesma_sb3.experts.functions import FunctionExpert, Outputs
from cesma_sb3.experts.per_agent import controllers_by_agent, is_distribution
from cesma_sb3.experts.sb3 import SB3Expert, space_problem
from cesma_sb3.experts.wrappers import TranslatedExpert, UserExpert
from cesma_sb3.spaces.action_views import VIEW_NAMES, ActionView, make_view
from cesma_sb3.spaces.agent_spaces import are_equal
from cesma_sb3.spaces.team_spaces import TeamSpaces
from cesma_sb3.spaces.team_views import TeamView, has_messages, message_free_view, reordered_view


def adapt_expert(
    controller: Any,
    team: TeamSpaces,
    *,
    view: str = "joint",
    outputs: Outputs = "actions",
    communicates: bool = False,
    normalization: VecNormalize | None = None,
    undivided: TeamView | None = None,
) -> Expert:
    """A controller as an expert of a team.

    The spaces of a model of SB3 or sb3-contrib show in which action view it acts and, in a team that
    communicates, whether it does so too. For a function both are arguments.

    Args:
        controller: An `Expert`; an algorithm or a policy of SB3 or sb3-contrib; a function of joint
            observations (and masks), see `FunctionExpert`, or a network of them, see `Network`; or one
            controller for each agent, by name, see `controllers_by_agent`. A class whose constructor needs
            nothing, or `team` alone, stands for an object of it.
        team: The team that it controls.
        view: The action view of what a function returns.
        outputs: What a function returns.
        communicates: Whether a function receives and sends messages, in a team that has them.
        normalization: Statistics that a model's observations are normalized by; None: those of the
            algorithm's own `VecNormalize`, if it has one.
        undivided: Of a team that a joint environment was divided into, the view in which one agent controls
            all of it: models and functions then act in that view.

    Raises:
        ExpertError: It is none of these, or does not fit the team; what was expected is named.
        ActionViewError: The view cannot hold the team's actions.
    """
    controller = _object(controller, team)
    if isinstance(controller, BaseAlgorithm | BasePolicy):
        order = _other_order(getattr(controller, "policy", controller), team)
        ways = _ways(team, undivided) if order is None else [order]
        return _of_model(controller, team, ways, normalization)
    if isinstance(controller, Expert):
        own = type(controller).__module__.partition(".")[0] == __name__.partition(".")[0]
        order = _other_order(controller, team)
        labelled = team if order is None else order.team
        expert: Expert = controller if own else UserExpert(controller, labelled)
        return expert if order is None else TranslatedExpert(expert, order)
    way = None if communicates or not has_messages(team) else message_free_view(team)
    if isinstance(controller, Mapping):
        controlled = team if way is None else way.team
        expert = _of_agents(controller, controlled)
    elif callable(controller):
        way = way if undivided is None else undivided
        controlled = team if way is None else way.team
        if isinstance(controller, nn.Module):
            controller = Network.of_module(controller)
        if isinstance(controller, Network):
            controller.fit(controlled)
        expert = FunctionExpert(controller, controlled, make_view(view, controlled), outputs=outputs)
    else:
        raise ExpertError(
            f"{type(controller).__name__}: expected an SB3 model or policy, a function of joint "
            "observations, a controller for each agent by name, or an object with `labels`"
        )
    return expert if way is None else TranslatedExpert(expert, way)


def known_spaces(team: TeamSpaces, undivided: TeamView | None = None) -> Iterator[tuple[Any, Any]]:
    """Observation and action spaces of what may control the team, in the order in which they are tried."""
    for way in _ways(team, undivided):
        controlled = team if way is None else way.team
        for view in _views(controlled):
            yield controlled.observation_space, view.space


def _ways(team: TeamSpaces, undivided: TeamView | None) -> list[TeamView | None]:
    """The views of a team that a model may be of, with the way to each; None is the team itself."""
    return [*([] if undivided is None else [undivided]), None, message_free_view(team)]


def _views(team: TeamSpaces) -> Iterator[ActionView]:
    """The action views that can hold the team's actions."""
    for name in VIEW_NAMES:
        with suppress(ActionViewError):
            yield make_view(name, team)


def _other_order(controller: Any, team: TeamSpaces) -> TeamView | None:
    """The way to the order of agents that a controller says by its own `team`; None where that is the same.

    Raises:
        ExpertError: It is of other agents.
    """
    own = getattr(controller, "team", None)
    # A policy that was made without a team has one of a single agent, whatever its name.
    if not isinstance(own, TeamSpaces) or own.agents == team.agents or own.n_agents == 1:
        return None
    try:
        return reordered_view(team, own)
    except SpaceError as error:
        raise ExpertError(f"{type(controller).__name__}: of another team: {error}") from None


def model_of_predict(controller: Any) -> Any:
    """Of a model's or policy's own `predict` the model or policy; anything else as it is."""
    model = getattr(controller, "__self__", None)
    is_predict = getattr(controller, "__name__", "") == "predict"
    return model if is_predict and isinstance(model, BaseAlgorithm | BasePolicy) else controller


def _object(controller: Any, team: TeamSpaces) -> Any:
    """The controller itself: of a class an object, of a model's own `predict` the model.

    Raises:
        ExpertError: A class whose objects are to be trained, or need more than the team.
    """
    controller = model_of_predict(controller)
    if not isinstance(controller, type):
        return controller
    name = controller.__name__
    if issubclass(controller, BaseAlgorithm | BasePolicy | nn.Module):
        raise ExpertError(f"{name}: is a class, without weights; expected a trained object of it")
    try:
        signature = inspect.signature(controller)
    except (TypeError, ValueError) as error:
        raise ExpertError(f"{name}: is a class, expected an object of it: {error}") from None
    needed = required_arguments(signature)
    if set(needed) - {"team"}:
        raise ExpertError(f"{name}: is a class that needs {', '.join(needed)}; expected an object of it")
    return controller(**({"team": team} if "team" in signature.parameters else {}))


def _of_agents(controllers: Mapping[Any, Any], team: TeamSpaces) -> FunctionExpert:
    """Controllers of single agents; a `StochasticExpert` where one of them is a distribution."""

    def made(rng: np.random.Generator | None) -> FunctionExpert:
        # Single agents' actions are those of their spaces: packed, and nothing is ranked.
        function = controllers_by_agent(controllers, team, rng)
        return FunctionExpert(function, team, make_view("joint", team), name="the agents' controllers")

    expert = made(None)
    if any(is_distribution(controller) for controller in controllers.values()):
        expert.sampler = lambda rng: made(rng).labels
    return expert


def _of_model(
    model: BaseAlgorithm | BasePolicy,
    team: TeamSpaces,
    ways: Sequence[TeamView | None],
    normalization: VecNormalize | None,
) -> Expert:
    """With the first view of the team that its observations are of, and the action view that it acts in."""
    for way in ways:
        controlled = team if way is None else way.team
        if space_problem(model, controlled, view=None) is None:
            view = find_view(model, controlled)
            expert = SB3Expert(model, controlled, view, normalization=normalization)
            return expert if way is None else TranslatedExpert(expert, way)
    raise ExpertError(str(space_problem(model, team, view=None)))


def find_view(model: BaseAlgorithm | BasePolicy, team: TeamSpaces) -> ActionView:
    """The action view of the team that is the model's action space.

    Raises:
        ExpertError: There is none; the model's space and those of all views are named.
    """
    tried = {}
    for view in _views(team):
        if are_equal(view.space, model.action_space):
            return view
        tried[view.name] = view.space
    views = "; ".join(f"{name}: {space}" for name, space in tried.items())
    raise ExpertError(
        f"{type(model).__name__}: its action space is {model.action_space}, that of no action view of the "
        f"team ({views})"
    )
