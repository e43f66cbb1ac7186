"""SB3's `learn` with a learning curve and checkpoints, for whatever algorithm."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from sb3_contrib import ARS
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.logger import configure
from stable_baselines3.common.noise import VectorizedActionNoise

from cesma_sb3.training.callbacks import Keep, LearningCurve
from cesma_sb3.training.checkpoint import StageCheckpoints

LOG_FORMATS = ["csv", "tensorboard"]
Tick = Callable[..., None]
"""Told of progress: `StageProgress.update`, or what takes the same arguments."""


def learn(
    model: BaseAlgorithm,
    curve: LearningCurve,
    total_timesteps: int,
    keep: Keep,
    *,
    kept: StageCheckpoints,
    tick: Tick,
    constants: Sequence[object] = (),
) -> None:
    """SB3's `learn`, from where the stage stands to its end.

    Args:
        model: Untrained; its `policy` ends as `keep` says.
        curve: Measures it on the way.
        total_timesteps: Of the environments, those before an interruption included.
        keep: Which weights: the best that were measured, or the last.
        kept: Where the stage goes on, and where it is kept.
        tick: Told of progress.
        constants: What the model holds and never changes, such as the expert that students imitate.
    """
    noise = getattr(model, "action_noise", None)
    if noise is not None and model.n_envs > 1 and not isinstance(noise, VectorizedActionNoise):
        # As SB3 does when it collects: so that it is there when a checkpoint is put back.
        model.action_noise = VectorizedActionNoise(noise, model.n_envs)
    buffer = getattr(model, "rollout_buffer", None)  # is emptied when the next turn begins
    with _visited_between_turns(model, total_timesteps, kept):
        found = kept.begin(
            {"model": model, "curve": curve}, constants=[*constants, *([] if buffer is None else [buffer])]
        )
        if found is not None:
            tick(found.timesteps, resumed=True)
        if found is not None and found.ended:
            tick(found.timesteps, {"return": curve.kept})
            return
        if found is not None and not found.whole:
            model._last_obs = None  # SB3 then begins new episodes
        with kept.logger(configure, LOG_FORMATS) as logger, kept.training():
            model.set_logger(logger)
            model.learn(
                total_timesteps - model.num_timesteps,  # to which SB3 adds those that were done
                callback=_ExpertWatch(curve, keep, tick),
                reset_num_timesteps=found is None,
            )
        left = [getattr(model, name, None) for name in ("replay_buffer", "env")]
        kept.end(model.num_timesteps, without=[each for each in left if each is not None])
        tick(model.num_timesteps, {"return": curve.kept})


@contextmanager
def _visited_between_turns(
    model: BaseAlgorithm, total_timesteps: int, kept: StageCheckpoints
) -> Iterator[None]:
    """Visits the stage before each turn of SB3's loop: what was collected has been learned from.

    Callbacks are told of a rollout only after something of it has been drawn: the noise of state-dependent
    exploration, what ARS will try.
    """
    name = "_do_one_update" if isinstance(model, ARS) else "collect_rollouts"
    turn = getattr(model, name, None)
    if turn is None:  # an algorithm with another loop has no checkpoint within its stage
        yield
        return

    def visit_and_turn(*args: Any, **kwargs: Any) -> Any:
        # ARS measures its progress by what is left.
        model._update_current_progress_remaining(model.num_timesteps, total_timesteps)
        kept.visit(model.num_timesteps)
        return turn(*args, **kwargs)

    # On this object alone, and for this time: the class has its own.
    setattr(model, name, visit_and_turn)
    try:
        yield
    finally:
        delattr(model, name)


def _return_of(model: BaseAlgorithm) -> float:
    """The mean return of the last episodes of training, as SB3 logs it (`rollout/ep_rew_mean`); NaN of none.

    Stochastic policies sample there, and explore: it may be far from what evaluations measure.
    """
    episodes = model.ep_info_buffer
    return sum(episode["r"] for episode in episodes) / len(episodes) if episodes else float("nan")


class _ExpertWatch(BaseCallback):
    """The expert's learning curve as an SB3 callback."""

    def __init__(self, curve: LearningCurve, keep: Keep, tick: Tick) -> None:
        super().__init__()
        self.curve = curve
        self.keep = keep
        self.tick = tick

    def _on_training_start(self) -> None:
        self._visit()

    def _on_step(self) -> bool:
        self._visit()
        self.tick(self.num_timesteps, {"return": self.curve.last, "in training": _return_of(self.model)})
        return True

    def _on_training_end(self) -> None:
        self.curve.finish(self.num_timesteps, self.keep)

    def _visit(self) -> None:
        if self.curve.visit(self.num_timesteps):
            self.logger.record("eval/return", self.curve.last)
