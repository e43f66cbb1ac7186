"""How many weights the networks of a policy have: the paper compares algorithms at the same number."""

from __future__ import annotations

from collections.abc import Iterator

import torch as th
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.policies import BasePolicy
from torch import nn

from cesma_sb3.errors import ExpertError
from cesma_sb3.policies.networks.feed_forward import BatchedLinear
from cesma_sb3.policies.networks.recurrent import RecurrentTeamNet
from cesma_sb3.policies.team_policy import TeamPolicy

_CRITICS = frozenset({"critic", "value_net", "vf_features_extractor", "lstm_critic"})
"""What SB3 and sb3-contrib call modules that only training needs."""


def parameter_counts(model_or_policy: BaseAlgorithm | BasePolicy) -> dict[str, int]:
    """Weights and biases of the networks: no padding, no targets, no standard deviations of whole columns.

    Every module of the policy counts, whatever its class: feature extractors and memories included.

    Args:
        model_or_policy: Of SB3, sb3-contrib or of this package, with networks of any kind.

    Returns:
        `actor`: what chooses actions, of all agents together; a network of action values counts here, and so
        does what actor and critic share.
        `critic`: what is needed in training alone; 0 for value-based policies.
        `total`: both.
        `agent`: what one agent needs in order to act, the largest of the team; only where agents act by
        themselves. Shared weights count once in `actor` and in each agent that holds them.

    Source: appendix E.2 (the centralized expert of 3 agents has 225 units so as to have as many parameters as
        MADDPG).
    """
    policy = model_or_policy.policy if isinstance(model_or_policy, BaseAlgorithm) else model_or_policy
    with th.random.fork_rng(devices=[]):  # taking networks apart makes modules, which draws initial weights
        counts = {"actor": 0, "critic": 0}
        for part, count in _parts(policy):
            counts[part] += count
        counts["total"] = counts["actor"] + counts["critic"]
        if (team := _own_team(policy)) is not None:
            counts["agent"] = max(_count(team.agent(name).network) for name in team.team.agents)
    return counts


def _parts(policy: nn.Module) -> Iterator[tuple[str, int]]:
    """Weights of each module of a policy, and whether they are the `actor`'s or the `critic`'s."""
    seen: set[nn.Module] = set()
    for name, module in policy.named_children():
        if name.endswith("_target"):
            continue
        inner = module.named_children() if name == "mlp_extractor" else [(name, module)]
        for part, found in inner:
            yield "critic" if part in _CRITICS else "actor", _count(found, seen)
    yield "actor", sum(weight.numel() for name, weight in policy.named_parameters() if _is_bare(name))


def _is_bare(name: str) -> bool:
    """Whether a parameter is the policy's own, in no module of it; standard deviations are no weights."""
    return "." not in name and name != "log_std"


def _own_team(policy: nn.Module) -> TeamPolicy | None:
    """The policy as a team whose agents act by themselves; None where they cannot."""
    make = getattr(policy, "team_policy", None)
    try:
        found = policy if make is None else make()
    except ExpertError:  # a centralized actor
        return None
    return found if isinstance(found, TeamPolicy) and found.actor_visibility == "own" else None


def _count(module: nn.Module, seen: set[nn.Module] | None = None) -> int:
    """Weights of a module; those of modules in `seen` have been counted."""
    seen = set() if seen is None else seen
    if module in seen:
        return 0
    seen.add(module)
    if isinstance(module, BatchedLinear):
        return module.n_real
    if isinstance(module, RecurrentTeamNet) and module.n_components > 1 and not module.share_parameters:
        return sum(_count(module.component(index)) for index in range(module.n_components))  # no padding
    own = sum(weight.numel() for weight in module.parameters(recurse=False))
    return own + sum(_count(child, seen) for child in module.children())
