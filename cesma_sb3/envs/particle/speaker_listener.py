"""Speaker and listener: one knows where to go and cannot move, the other moves and does not know.

The speaker observes the colour of the goal landmark and sends one of three symbols. The listener observes its
velocity, the three landmarks, and the symbol that the speaker sent at the step before; at the first step of
an episode that is zeros. The same as mpe2's `simple_speaker_listener_v4`, step by step.

Source: Lin et al., "Decentralized Multi-Agents by Imitation of a Centralized Controller", section 6.3 and
Appendix D.3.
"""

from __future__ import annotations

import numpy as np

from cesma_sb3.envs.particle.goals import distances, draw, goal_codes, goal_part
from cesma_sb3.envs.particle.scenario import Scenario
from cesma_sb3.envs.particle.world import Body, World
from cesma_sb3.spaces.layout import ObservationLayout, Part
from cesma_sb3.spaces.types import Array, Doubles, Floats, Index

N_LANDMARKS = 3
N_SYMBOLS = 3
SPEAKER, LISTENER = 0, 1


class SpeakerListener(Scenario):
    """Speaker and listener. Both get minus the squared distance of the listener to the goal landmark.

    Args:
        continuous_actions: Whether an action has a scalar in [0, 1] for each move or symbol.
        max_cycles: Steps of an episode.

    Raises:
        ConfigError: A bad argument.
    """

    shared_reward = True

    def __init__(self, *, continuous_actions: bool = False, max_cycles: int = 25) -> None:
        super().__init__(
            name="speaker-listener",
            agents=[
                Body("speaker_0", size=0.075, collide=False, movable=False, silent=False),
                Body("listener_0", size=0.075, collide=False),
            ],
            landmarks=[
                Body(f"landmark_{i}", size=0.04, collide=False, movable=False) for i in range(N_LANDMARKS)
            ],
            max_cycles=max_cycles,
            continuous_actions=continuous_actions,
            message_size=N_SYMBOLS,
        )
        self._codes = goal_codes(N_LANDMARKS, low=0.15, high=0.65)

    @property
    def reward_definition(self) -> str:
        """The reward in words, for reports."""
        return (
            "the paper's and mpe2's, shared: minus the squared distance of the listener to the goal "
            "landmark, summed over the episode"
        )

    def variables(self, n_envs: int) -> dict[str, Array]:
        """`goals` [B] int64: the landmark that the listener is to reach."""
        return {"goals": np.zeros(n_envs, dtype=np.int64)}

    def goals(self, world: World) -> Index:
        """The landmark that each agent is to reach [2, B]; -1 for the speaker."""
        listener = world.variables["goals"]
        return np.stack([np.full_like(listener, -1), listener])

    def reset(self, world: World, rng: np.random.Generator, which: Index) -> None:
        """Starts agents and landmarks anywhere in [-1, 1], at rest; any landmark is the goal."""
        positions, goals = draw(
            rng,
            n_entities=len(world.positions),
            n_goals=1,
            n_landmarks=N_LANDMARKS,
            n_envs=len(which),
        )
        world.place(which, positions)
        world.variables["goals"][which] = goals[:, 0]

    def observation_layout(self, index: int) -> ObservationLayout:
        """The parts of an observation, as in mpe2; landmarks are relative to the listener."""
        if index == SPEAKER:
            return ObservationLayout((goal_part(2, self._codes.shape[1]),))
        return ObservationLayout(
            (
                Part("velocity", "own", size=2, is_planar=True),
                Part("landmarks", "entities", count=N_LANDMARKS, size=2, is_planar=True),
                Part("messages", "message", count=1, size=N_SYMBOLS),
            )
        )

    def observe(self, world: World) -> Floats:
        """Joint observations [B, 3 + 11] float32."""
        landmarks = world.landmark_positions - world.agent_positions[LISTENER]
        rows = (
            self._codes[world.variables["goals"]].T,
            world.velocities[LISTENER],
            landmarks.reshape(2 * N_LANDMARKS, -1),
            world.messages[SPEAKER],
        )
        return np.ascontiguousarray(np.concatenate(rows).T, dtype=np.float32)

    def rewards(self, world: World) -> Doubles:
        """Both agents' reward, [2, B]."""
        listener = distances(world, np.maximum(self.goals(world), 0))[LISTENER]
        return np.repeat(-np.square(listener)[None], 2, axis=0)
