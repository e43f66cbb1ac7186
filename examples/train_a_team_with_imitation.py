"""A `TeamPolicy` is an SB3 policy, so that imitation's own algorithms train it: here behavioural cloning.

    python examples/train_a_team_with_imitation.py

The demonstrations are of a scripted controller that sees all agents; each student sees its own agent alone.
"""

from __future__ import annotations

import numpy as np
import torch
from imitation.algorithms.bc import BC
from imitation.data import rollout

from cesma_sb3 import ParticleVecEnv, TeamPolicy, evaluate
from cesma_sb3.envs.particle import Spread
from cesma_sb3.experts import ExpertPolicy, ScriptedNavigationExpert


def main(n_episodes: int = 1_000, n_epochs: int = 10) -> tuple[float, float]:
    """Trains on that many episodes and returns the mean returns of expert and students."""
    rng = np.random.default_rng(0)
    scenario = Spread(n_agents=3)
    venv = ParticleVecEnv(scenario, n_envs=32, seed=0)
    expert = ScriptedNavigationExpert(venv.team, scenario.agents)
    demonstrations = rollout.rollout(
        ExpertPolicy(expert, venv.team), venv, rollout.make_min_episodes(n_episodes), rng=rng, unwrap=False
    )

    torch.manual_seed(0)
    team = venv.team
    students = TeamPolicy(
        team.observation_space,
        team.action_space,
        lambda _: 1e-3,
        team=team,
        network="entities",  # without it, plain layers on the flat observation
        hidden_sizes=(64, 64),
    )
    trainer = BC(
        observation_space=venv.observation_space,
        action_space=venv.action_space,
        rng=rng,
        policy=students,
        demonstrations=rollout.flatten_trajectories(demonstrations),
        batch_size=256,
    )
    trainer.train(n_epochs=n_epochs, progress_bar=False)

    by_expert = evaluate(expert, venv, n_eval_episodes=200, seed=1).mean
    by_students = evaluate(students, venv, n_eval_episodes=200, seed=1).mean
    print(f"team return in 25 timesteps: expert {by_expert:.1f}, students {by_students:.1f}")
    return by_expert, by_students


if __name__ == "__main__":
    main()
