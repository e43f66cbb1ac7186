"""What a training page shows of the team: the policy that trains, acting in an environment of its own."""

from __future__ import annotations

import time
import warnings
from typing import Any

from cesma_sb3.analysis.html_report.rendering import for_player
from cesma_sb3.analysis.recording import Camera, record
from cesma_sb3.envs.batched_vec_env import BatchedVecEnv
from cesma_sb3.envs.joint_vec_env import JointVecEnv
from cesma_sb3.errors import CesmaError, error_line
from cesma_sb3.spaces.types import Actor
from cesma_sb3.training.callbacks import CurvePoint
from cesma_sb3.training.evaluator import Evaluator, joint_env
from cesma_sb3.utils.closing import error_of_closing

SHARE = 0.05
"""The most of the run's time that recordings take, besides the first one of each policy."""


class Recorder:
    """Records the policies of a run while they train, an episode each, again and again.

    Every episode begins in the first initial state of the run's evaluations, so that one can be compared with
    another. What cannot be shown is not tried again.

    Attributes:
        episodes: The newest episode of each policy, as `player.js` reads them: a list of one.
        number: How many were recorded so far.
        missing: Why there are none, or no more; empty where there is no reason.
    """

    def __init__(self) -> None:
        self.episodes: dict[str, list[dict[str, Any]]] = {}
        self.number = 0
        self.missing = ""
        self._venv: JointVecEnv | None = None
        self._camera: Camera | None = None
        self._began: float | None = None
        self._seconds = 0.0

    def record_if_due(
        self, policy: str, point: CurvePoint, act: Actor, evaluator: Evaluator, *, wanted: bool
    ) -> None:
        """Record an episode, if there is time.

        Args:
            policy: `expert` or `students`.
            point: The evaluation after which it is recorded.
            act: The policy.
            evaluator: What measured it.
            wanted: Whether somebody asks for another episode. The first of each policy is always recorded.
        """
        begins = time.monotonic()
        self._began = begins if self._began is None else self._began
        has_time = self._seconds <= SHARE * (begins - self._began)
        if self.missing or (policy in self.episodes and not (wanted and has_time)):
            return
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of its environment, which the run's own gave already
                episode = self._record(act, evaluator)
        except CesmaError as error:
            self.missing = str(error)
        except Exception as error:  # of somebody else's environment: training goes on
            self.missing = error_line(error)
        else:
            updates = point.n_updates if point.timesteps == 0 else None
            after = f"{updates:,} updates" if updates else f"{point.timesteps:,} samples"
            self.episodes = {**self.episodes, policy: [{**episode, "after": after}]}
            self.number += 1
        self._seconds += time.monotonic() - begins

    def close(self) -> None:
        """Close its environment."""
        if self._venv is not None:
            error_of_closing(type(self._venv).__name__, self._venv.close)
            self._venv = self._camera = None

    def _record(self, act: Actor, evaluator: Evaluator) -> dict[str, Any]:
        seed = evaluator.seeds.curve
        if self._venv is None:
            run_venv = evaluator.venv
            # As many as the run's own where one call steps them all: it may be compiled for this number.
            n_envs = run_venv.num_envs if isinstance(run_venv, BatchedVecEnv) else 1
            self._venv = joint_env(evaluator.env, n_envs, seed, agents=run_venv.team.agents, renderable=True)
            self._camera = Camera(self._venv, evaluator.env.id)
        (episode,) = record(act, self._venv, 1, seed, self._camera)
        return for_player(episode, small=False)
