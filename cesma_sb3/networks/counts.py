"""How many weights the networks of a policy have: the paper compares algorithms at the same number."""

from __future__ import annotations

from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.policies import ActorCriticPolicy, BasePolicy
from torch import nn

from cesma_sb3.networks.entities import EntityNet
from cesma_sb3.networks.feed_forward import BatchedLinear, TeamNet
from cesma_sb3.networks.separate import SeparateNet


def parameter_counts(model_or_policy: BaseAlgorithm | BasePolicy) -> dict[str, int]:
    """Weights and biases that are trained: no padding, no targets.

    Args:
        model_or_policy: Of SB3 or of this package, with networks of any kind.

    Returns:
        `actor`: what chooses actions, of all agents together; a network of action values counts here.
        `critic`: what is needed in training alone; 0 for value-based policies.
        `total`: both.
        `agent`: what one agent needs in order to act, the largest of the team; only where agents act by
        themselves. Shared weights count once in `actor` and in each agent that holds them.

    Source: appendix E.2 (the centralized expert of 3 agents has 225 units so as to have as many parameters as
        MADDPG).
    """
    policy = model_or_policy.policy if isinstance(model_or_policy, BaseAlgorithm) else model_or_policy
    actors, critics = _parts(policy)
    actor, critic = (sum(map(_count, parts)) for parts in (actors, critics))
    counts = {"actor": actor, "critic": critic, "total": actor + critic}
    for part in actors:
        net = getattr(part, "net", part)
        if isinstance(net, TeamNet) and net.n_components > 1:
            counts["agent"] = max(_count(net.component(index)) for index in range(net.n_components))
        elif isinstance(net, SeparateNet):
            counts["agent"] = max(map(_count, net.agents))
        elif isinstance(net, EntityNet) and not net.joins_mates:
            counts["agent"] = _count(net)
    return counts


def _parts(policy: nn.Module) -> tuple[list[nn.Module], list[nn.Module]]:
    """The modules of the actor and those of the critic."""
    if isinstance(policy, ActorCriticPolicy):
        actor: list[nn.Module] = [policy.action_net]
        critic: list[nn.Module] = [policy.value_net]
        if hasattr(policy.mlp_extractor, "policy_net"):
            actor.append(policy.mlp_extractor.policy_net)
            critic.append(policy.mlp_extractor.value_net)
        return actor, critic
    actors = [getattr(policy, name) for name in ("actor", "q_net") if hasattr(policy, name)]
    critics = [getattr(policy, name) for name in ("critic",) if hasattr(policy, name)]
    return actors, critics


def _count(module: nn.Module) -> int:
    if isinstance(module, BatchedLinear):
        return module.n_real
    own = sum(weight.numel() for weight in module.parameters(recurse=False) if weight.requires_grad)
    return own + sum(_count(child) for child in module.children())
