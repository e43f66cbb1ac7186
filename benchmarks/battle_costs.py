"""What one battle costs, measured in a process of its own: `python -m benchmarks.battle_costs 3m`.

JaxMARL's own steps of the same battles and, where the variable EPYMARL names a checkout of EPyMARL, its
learner's updates on episodes of the same size, are measured beside ours in turns.
"""

from __future__ import annotations

import cProfile
import json
import os
import pstats
import sys
import time
from collections.abc import Callable
from importlib import import_module
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch as th

from benchmarks.turns import in_turns
from cesma_sb3.algorithms import RecurrentFactoredDQN
from cesma_sb3.algorithms.factored_dqn.buffers import EpisodeReplayBuffer
from cesma_sb3.algorithms.factored_dqn.policies import FactoredQPolicy
from cesma_sb3.envs import make_vec_env
from cesma_sb3.envs.smac.smax import SmaxBattles
from cesma_sb3.policies.networks.recurrent import RecurrentTeamNet

N_ENVS = 32
STEPS = 60
UPDATES = 20
BATCH = 32


def costs(map_name: str) -> dict[str, Any]:
    """Medians of steps, actions and updates of a map, and where the time of learning goes."""
    th.set_num_threads(1)
    started = time.perf_counter()
    venv: Any = make_vec_env(f"smax-{map_name}", n_envs=N_ENVS, seed=0)
    team, rng = venv.team, np.random.default_rng(0)

    def step() -> None:
        masks = venv.agent_masks.reshape(N_ENVS, team.n_agents, -1)
        venv.step((rng.random(masks.shape) * masks).argmax(axis=2))

    venv.reset()
    step()
    step()
    compiled = time.perf_counter() - started
    ours, jaxmarls = medians(STEPS, step, _jaxmarl_step(map_name))
    agents: dict[str, Any] = {name: _learner(venv, **visibility) for name, visibility in _LEARNERS.items()}
    n_steps = len(agents["joint"].replay_buffer.sample(BATCH).sizes)
    joint, own = medians(UPDATES, *(lambda a=agent: a.train(1, BATCH) for agent in agents.values()))
    acts = []
    observations, masks = venv.reset(), venv.agent_masks
    for _ in range(UPDATES):
        before = time.perf_counter()
        agents["joint"].predict(observations, deterministic=True, action_masks=masks)
        acts.append(time.perf_counter() - before)
    found = {
        "map": map_name,
        "agents": team.n_agents,
        "joint observation": team.observation_size,
        "compile s": round(compiled, 1),
        "steps per second": round(N_ENVS / ours),
        "JaxMARL's own": round(N_ENVS / jaxmarls),
        "step us": round(ours / N_ENVS * 1e6),
        "act us": round(float(np.median(acts)) / N_ENVS * 1e6, 1),
        "updates per second": round(1 / joint, 1),
        "in matrix products": round(_share_of_products(agents["joint"]), 2),
        "of IQL": round(1 / own, 1),
        "EPyMARL's IQL": "not measured",
        "steps of an update": n_steps,
    }
    if "EPYMARL" in os.environ:
        sizes = {"n_agents": team.n_agents, "n_actions": team.column_categories[0]}
        update = _epymarl_update(os.environ["EPYMARL"], team.observation_sizes[0], n_steps, **sizes)
        again, theirs = medians(UPDATES, lambda: agents["own"].train(1, BATCH), update)
        found |= {"of IQL": round(1 / again, 1), "EPyMARL's IQL": round(1 / theirs, 1)}
    return {**found, "profile": _profile(agents["joint"])}


def medians(rounds: int, *functions: Callable[[], object]) -> list[float]:
    """The median seconds of each function, in turns."""
    seconds: list[float] = np.median(in_turns(rounds, *functions).wall, axis=0).tolist()
    return seconds


_LEARNERS: dict[str, dict[str, Any]] = {
    "joint": {"visibility": "joint", "mixer": "sum"},
    "own": {"visibility": "own", "mixer": "none", "share_parameters": True},
}


def _learner(venv: Any, **policy_kwargs: Any) -> RecurrentFactoredDQN:
    """A learner whose buffer has whole episodes, of random play."""
    given = {"team": venv.team, "network": "recurrent", "hidden_sizes": (64,), **policy_kwargs}
    agent = RecurrentFactoredDQN(
        "MlpPolicy", venv, policy_kwargs=given, buffer_size=20_000, learning_starts=10**9, seed=0
    )
    return agent.learn(N_ENVS * 120)


def _jaxmarl_step(map_name: str) -> Callable[[], object]:
    """JaxMARL's own step of as many battles, jitted, with random available actions chosen inside of it."""
    import jax
    from jaxmarl.environments.smax import HeuristicEnemySMAX
    from jaxmarl.environments.smax.smax_env import MAP_NAME_TO_SCENARIO

    make: Any = HeuristicEnemySMAX
    env = make(scenario=MAP_NAME_TO_SCENARIO[map_name])

    def step(key: Any, state: Any) -> Any:
        key, acting, stepping = jax.random.split(key, 3)
        keys = jax.random.split(acting, len(env.agents))
        masks = env.get_avail_actions(state)
        actions = {
            agent: jax.random.categorical(own, jax.numpy.where(masks[agent], 0.0, -1e9))
            for agent, own in zip(env.agents, keys, strict=True)
        }
        observations, state, rewards, dones, _ = env.step(stepping, state, actions)
        return key, state, observations, rewards, dones

    keys = jax.random.split(jax.random.PRNGKey(0), N_ENVS)
    _, states = jax.jit(jax.vmap(env.reset))(keys)
    now = [keys, states]
    compiled = jax.jit(jax.vmap(step))

    def run() -> None:
        key, state, *rest = compiled(*now)
        np.asarray(rest[1][env.agents[0]])  # waits for it
        now[:] = [key, state]

    run()
    return run


def _epymarl_update(
    checkout: str, observation_size: int, n_steps: int, *, n_agents: int, n_actions: int
) -> Callable[[], object]:
    """An update of EPyMARL's independent Q-learning with its recurrent agent, on random whole episodes."""
    sys.path.insert(0, os.path.join(checkout, "src"))  # noqa: PTH118  # a path of the user's, as it is
    batches, transforms, controllers, learners = (
        import_module(name)
        for name in (
            *("components.episode_buffer", "components.transforms"),
            *("controllers.basic_controller", "learners.q_learner"),
        )
    )

    args = SimpleNamespace(
        n_agents=n_agents,
        n_actions=n_actions,
        hidden_dim=64,
        use_rnn=True,
        agent="rnn",
        agent_output_type="q",
        action_selector="epsilon_greedy",
        obs_last_action=False,
        obs_agent_id=True,
        mixer=None,
        lr=5e-4,
        use_cuda=False,
        learner_log_interval=10**9,
        standardise_returns=False,
        standardise_rewards=False,
        common_reward=True,
        double_q=True,
        gamma=0.99,
        grad_norm_clip=10,
        target_update_interval_or_tau=0.01,
        epsilon_start=1.0,
        epsilon_finish=0.05,
        epsilon_anneal_time=1,
        evaluation_epsilon=0.0,
    )
    scheme = {
        "obs": {"vshape": observation_size, "group": "agents"},
        "actions": {"vshape": (1,), "group": "agents", "dtype": th.long},
        "avail_actions": {"vshape": (n_actions,), "group": "agents", "dtype": th.int},
        "reward": {"vshape": (1,)},
        "terminated": {"vshape": (1,), "dtype": th.uint8},
    }
    preprocess = {"actions": ("actions_onehot", [transforms.OneHot(out_dim=n_actions)])}
    batch = batches.EpisodeBatch(scheme, {"agents": n_agents}, BATCH, n_steps + 1, preprocess=preprocess)
    each = (BATCH, n_steps + 1, n_agents)
    generator = th.Generator().manual_seed(0)
    batch.update(
        {
            "obs": th.rand(*each, observation_size, generator=generator),
            "actions": th.randint(n_actions, (*each, 1), generator=generator),
            "avail_actions": th.ones(*each, n_actions),
            "reward": th.rand(BATCH, n_steps + 1, 1, generator=generator),
            "terminated": th.zeros(BATCH, n_steps + 1, 1),
        }
    )
    mac = controllers.BasicMAC(batch.scheme, {"agents": n_agents}, args)
    logger = SimpleNamespace(log_stat=lambda *_: None)
    learner = learners.QLearner(mac, batch.scheme, logger, args)
    learner.log_stats_t = 0  # else the first update logs
    return lambda: learner.train(batch, 0, 0)


_PRODUCTS = {"aten::mm", "aten::addmm", "aten::addmm_", "aten::bmm", "aten::baddbmm"}
"""Matrix products by the names that PyTorch's profiler gives them."""


def _share_of_products(agent: Any) -> float:
    """The share of an update's wall-clock time that PyTorch's matrix products take, in [0, 1]."""
    with th.profiler.profile(activities=[th.profiler.ProfilerActivity.CPU]) as profile:
        agent.train(UPDATES, BATCH)
    microseconds = sum(op.self_cpu_time_total for op in profile.key_averages() if op.key in _PRODUCTS)
    # The profiler has wall-clock times. It is off for the whole, of which its own work would be a part.
    before = time.perf_counter()
    agent.train(UPDATES, BATCH)
    return float(microseconds / 1e6 / (time.perf_counter() - before))


_PARTS: dict[str, Any] = {
    "battles (jitted)": SmaxBattles.step,
    "actor": FactoredQPolicy.read,
    "episodes to the buffer": EpisodeReplayBuffer.add,
    "episodes from the buffer": EpisodeReplayBuffer.sample,
    "forward": RecurrentTeamNet.unroll_packed,
    "backward": th.Tensor.backward,
}
"""Parts of learning, by the function in which their time is spent."""


def _profile(agent: Any) -> dict[str, float]:
    """Shares of the time of learning: 64 vector steps with an update after every second one."""
    agent.learning_starts, agent.exploration_rate = 0, 0.5
    agent.train_freq = type(agent.train_freq)(2, agent.train_freq.unit)
    profile = cProfile.Profile()
    profile.enable()
    agent.learn(N_ENVS * 64, reset_num_timesteps=False)
    profile.disable()
    stats: Any = pstats.Stats(profile)
    seconds = {part: stats.stats[_key(function)][3] for part, function in _PARTS.items()}
    found = {part: round(spent / stats.total_tt, 3) for part, spent in seconds.items()}
    return {**found, "everything else": round(1 - sum(found.values()), 3)}


def _key(function: Any) -> tuple[str, int, str]:
    """The name under which a profile has a function."""
    code = function.__code__
    return code.co_filename, code.co_firstlineno, code.co_name


if __name__ == "__main__":
    print(json.dumps(costs(sys.argv[1])))
