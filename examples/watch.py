"""Watch the students of a run: a few episodes as an animated GIF.

    cesma run spread-3-scripted --out runs/watched
    python examples/watch.py runs/watched watched.gif

For runs in a scenario of the particle world or a battle of SMAX. Every agent acts alone, from its own
observation and what it remembers.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from PIL import Image

from cesma_sb3 import RunFolder, load_team
from cesma_sb3.envs import make_parallel_env


def watch(run_dir: Path, gif: Path, *, n_episodes: int = 3, seed: int = 0) -> list[np.ndarray]:
    """Writes the GIF and returns its frames, [height, width, 3] uint8 each."""
    run = RunFolder.open(run_dir)
    env = make_parallel_env(run.experiment.env.id, kwargs=run.experiment.env.kwargs, render_mode="rgb_array")
    students = load_team(run.file("students"))
    agents = {name: students.agent(name) for name in env.possible_agents}
    frames = []
    for episode in range(n_episodes):
        observations, infos = env.reset(seed=seed + episode)
        memories = dict.fromkeys(agents)
        frames.append(env.render())
        while env.agents:
            actions = {}
            for name in env.agents:
                actions[name], memories[name] = agents[name].predict(
                    observations[name],
                    memories[name],
                    deterministic=students.acts_deterministically,
                    action_masks=infos.get(name, {}).get("action_mask"),
                )
            observations, *_, infos = env.step(actions)
            frames.append(env.render())
    env.close()
    pictures = [Image.fromarray(frame).resize((400, 400), Image.Resampling.LANCZOS) for frame in frames]
    pictures[0].save(gif, save_all=True, append_images=pictures[1:], duration=100, loop=0)
    return frames


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit("expected: python examples/watch.py RUN_FOLDER FILE.gif")
    watch(Path(sys.argv[1]), Path(sys.argv[2]))
