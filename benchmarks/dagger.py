"""Multi-agent DAgger beside imitation's stock `SimpleDAggerTrainer`: seconds to the same return.

Same expert (scripted), environment (batched cooperative navigation, 3 agents), networks (two layers of 128
for each agent), one thread. The stock trainer runs first, with its own defaults, less what it would do
needlessly: its five evaluation episodes a round are left out and nothing is logged. Its return is what ours
then has to reach, at two evaluations in a row. Time spent in evaluations counts for neither.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch as th
from imitation.algorithms import bc
from imitation.algorithms.dagger import SimpleDAggerTrainer
from imitation.util import logger as imitation_logger

from cesma_sb3.envs.particle import ParticleVecEnv, Spread
from cesma_sb3.evaluation import evaluate
from cesma_sb3.experts import ExpertPolicy, ScriptedNavigationExpert
from cesma_sb3.imitation import DAggerProgress, MultiAgentDAggerTrainer
from cesma_sb3.policies import TeamPolicy

STOCK_TIMESTEPS = 20_000
OUR_TIMESTEPS = 200_000
EPISODES = 400


def make_env(n_envs: int, seed: int) -> ParticleVecEnv:
    """Cooperative navigation with 3 agents and the paper's reward."""
    return ParticleVecEnv(Spread(3), n_envs, seed=seed)


def make_policy(env: ParticleVecEnv) -> TeamPolicy:
    """The students, the same for both."""
    th.manual_seed(0)
    team = env.team
    return TeamPolicy(team.observation_space, team.action_space, lambda _: 1e-3, team=team)


def measure(policy: TeamPolicy, evaluation: ParticleVecEnv) -> float:
    """Mean team return of the students."""
    return evaluate(policy, evaluation, n_eval_episodes=EPISODES, seed=7).mean


def run_stock(expert: ScriptedNavigationExpert, evaluation: ParticleVecEnv) -> tuple[float, float]:
    """Seconds and return of imitation's trainer."""
    env = make_env(8, seed=0)
    with tempfile.TemporaryDirectory() as folder:
        logger = imitation_logger.configure(Path(folder) / "log", [])
        rng = np.random.default_rng(0)
        student = bc.BC(
            observation_space=env.observation_space,
            action_space=env.action_space,
            rng=rng,
            policy=make_policy(env),
            custom_logger=logger,
        )
        trainer = SimpleDAggerTrainer(
            venv=env,
            scratch_dir=Path(folder) / "scratch",
            expert_policy=ExpertPolicy(expert, env.team),
            bc_trainer=student,
            rng=rng,
            custom_logger=logger,
        )
        started = time.perf_counter()
        trainer.train(
            STOCK_TIMESTEPS,
            bc_train_kwargs={"log_rollouts_venv": None, "progress_bar": False, "log_interval": 10**9},
        )
        seconds = time.perf_counter() - started
        policy = trainer.policy
        assert isinstance(policy, TeamPolicy)
        return seconds, measure(policy, evaluation)


def run_ours(
    expert: ScriptedNavigationExpert, evaluation: ParticleVecEnv, target: float
) -> tuple[float, float, int]:
    """Seconds until the target is reached at two evaluations in a row, the return there, and timesteps."""
    env = make_env(64, seed=0)
    with tempfile.TemporaryDirectory() as folder:
        trainer = MultiAgentDAggerTrainer(
            venv=env,
            expert_policy=expert,
            policy=make_policy(env),
            rng=np.random.default_rng(0),
            custom_logger=imitation_logger.configure(folder, []),
        )
        state = {"evaluating": 0.0, "hits": 0, "last": 0, "return": float("-inf"), "timesteps": 0}

        def watch(progress: DAggerProgress) -> bool:
            if progress.timesteps - state["last"] < 2_000:
                return True
            began = time.perf_counter()
            state["last"] = state["timesteps"] = progress.timesteps
            state["return"] = measure(trainer.policy, evaluation)
            state["hits"] = state["hits"] + 1 if state["return"] >= target else 0
            state["evaluating"] += time.perf_counter() - began
            return state["hits"] < 2

        started = time.perf_counter()
        trainer.train(OUR_TIMESTEPS, callback=watch)
        seconds = time.perf_counter() - started - state["evaluating"]
    return seconds, state["return"], int(state["timesteps"])


def run_dagger() -> dict[str, Any]:
    """`ours` and `theirs` in seconds to the same return; `ratio` is how many times faster ours is."""
    th.set_num_threads(1)
    evaluation = make_env(100, seed=5)
    expert = ScriptedNavigationExpert(evaluation.team, evaluation.scenario.agents)
    theirs, target = run_stock(expert, evaluation)
    ours, reached, timesteps = run_ours(expert, evaluation, target)
    return {
        "ours": ours,
        "theirs": theirs,
        "ratio": theirs / ours,
        "unit": "seconds to the same return",
        "return_ours": reached,
        "return_theirs": target,
        "compared": {
            "ours": "MultiAgentDAggerTrainer, its defaults, 64 environments",
            "theirs": "imitation's SimpleDAggerTrainer, its defaults (batch 32, 4 epochs), 8 environments",
            "expert": "scripted",
            "expert_return": evaluate(expert, evaluation, n_eval_episodes=EPISODES, seed=7).mean,
            "environment": "spread, 3 agents, paper's reward",
            "students": "own observations, two layers of 128 for each agent",
            "timesteps_ours": timesteps,
            "timesteps_theirs": STOCK_TIMESTEPS,
            "episodes": EPISODES,
            "threads": 1,
        },
    }
