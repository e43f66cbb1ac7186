"""An SB3 model that controls a whole team becomes one policy for each agent.

    python examples/decentralize_an_sb3_model.py

The model here is PPO, trained on PettingZoo's simple_spread. Any model of SB3 or sb3-contrib will do: its
spaces say in which action view it acts (`product` for DQN, `relaxed` for DDPG, TD3 and SAC).
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

from stable_baselines3 import PPO
from stable_baselines3.common.env_util import make_vec_env

import cesma_sb3
from cesma_sb3 import make_parallel_env

# Two agents, two landmarks. Its agents get rewards of their own: the team's is their mean.
ENV = {"id": "mpe2.simple_spread_v3", "kwargs": {"N": 2, "max_cycles": 25}, "team_reward": "mean"}
make_env = partial(make_parallel_env, ENV["id"], ENV["kwargs"])


def train_a_controller(path: Path, timesteps: int) -> None:
    """SB3 alone: the team is one Gymnasium environment."""
    venv = make_vec_env(lambda: cesma_sb3.JointEnv(make_env(), team_reward="mean"), n_envs=8, seed=0)
    PPO("MlpPolicy", venv, n_steps=125, batch_size=250, gamma=0.9, seed=0).learn(timesteps).save(path)


def main(out: Path, expert_timesteps: int = 200_000, student_timesteps: int = 50_000) -> None:
    """Takes some minutes."""
    out.mkdir(parents=True, exist_ok=True)
    train_a_controller(out / "controller.zip", expert_timesteps)
    result = cesma_sb3.decentralize(
        out / "controller.zip",
        ENV,
        algorithm="PPO",
        trust=True,  # we wrote the file ourselves
        total_timesteps=student_timesteps,
        out=out / "run",
    )
    returns = result.report["return"]
    print(f"mean return of an agent: expert {returns['expert']:.2f}, students {returns['students']:.2f}")
    print(f"the students: {result.run_dir / 'students'}")


if __name__ == "__main__":
    main(Path("runs/ppo"))
