"""An SB3 model that controls a whole team becomes one policy for each agent.

    python examples/decentralize_an_sb3_model.py

The model here is PPO, trained on PettingZoo's simple_spread. Any model of SB3 or sb3-contrib will do; the
action view says how it sees the joint action (`product` for DQN, `relaxed` for DDPG, TD3 and SAC).
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
from stable_baselines3 import PPO
from stable_baselines3.common.env_util import make_vec_env

from cesma_sb3 import JointEnv, MultiAgentDAggerTrainer, SB3Expert, evaluate, save_team
from cesma_sb3.evaluation import expert_act, greedy
from cesma_sb3.joint.parallel import make_parallel_env
from cesma_sb3.joint.vec_env import joint_vec_env

# Two agents, two landmarks. Its agents get rewards of their own: the team's is their mean.
make_env = partial(make_parallel_env, "mpe2.simple_spread_v3", {"N": 2, "max_cycles": 25})


def train_a_controller(path: Path, timesteps: int) -> None:
    """SB3 alone: the team is one Gymnasium environment."""
    venv = make_vec_env(lambda: JointEnv(make_env(), team_reward="mean"), n_envs=8, seed=0)
    PPO("MlpPolicy", venv, n_steps=125, batch_size=250, gamma=0.9, seed=0).learn(timesteps).save(path)


def decentralize(path: Path, timesteps: int, out: Path) -> tuple[float, float]:
    """From the file of a model to a folder of one policy for each agent; returns both mean returns."""
    venv = joint_vec_env(make_env, n_envs=8, seed=1, team_reward="mean")
    expert = SB3Expert(PPO.load(path), venv.team, venv.view)
    trainer = MultiAgentDAggerTrainer(venv=venv, expert=expert, rng=np.random.default_rng(0))
    trainer.train(timesteps)
    save_team(trainer.policy, out)
    by_expert = evaluate(expert_act(expert), venv, n_episodes=100, seed=2).mean
    by_students = evaluate(greedy(trainer.policy), venv, n_episodes=100, seed=2).mean
    return by_expert, by_students


def main(out: Path, expert_timesteps: int = 200_000, student_timesteps: int = 50_000) -> None:
    """Takes some minutes."""
    out.mkdir(parents=True, exist_ok=True)
    train_a_controller(out / "controller.zip", expert_timesteps)
    expert, students = decentralize(out / "controller.zip", student_timesteps, out / "students")
    print(f"mean return of an agent in 25 timesteps: expert {expert:.2f}, students {students:.2f}")
    print(f"the students: {out / 'students'}")


if __name__ == "__main__":
    main(Path("runs/ppo"))
