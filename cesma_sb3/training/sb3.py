"""SB3's `learn` with a learning curve and checkpoints, for any of its algorithms."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.logger import configure

from cesma_sb3.training.callbacks import LearningCurve
from cesma_sb3.training.checkpoint import StageCheckpoints
from cesma_sb3.training.sb3_state import before_each_rollout, begin_new_episodes, make_noise_for_each_env

LOG_FORMATS = ["csv", "tensorboard"]
Tick = Callable[..., None]
"""Called with the progress of a stage: `StageProgress.update`, or what takes the same arguments."""


def learn(
    model: BaseAlgorithm,
    curve: LearningCurve,
    total_timesteps: int,
    *,
    checkpoints: StageCheckpoints,
    tick: Tick,
    callbacks: Sequence[BaseCallback] = (),
    outcome: Mapping[str, object] | None = None,
    constants: Sequence[object] = (),
) -> None:
    """Trains a model by its own `learn`, from the newest checkpoint of the stage or from the beginning.

    Args:
        model: Untrained; its `policy` ends with the weights that `curve` keeps.
        curve: Evaluates the policy on the way.
        total_timesteps: Budget of the environments, with the timesteps before an interruption.
        checkpoints: The checkpoints of the stage.
        tick: Called with the stage's progress.
        callbacks: The user's, which begin anew when the stage is resumed.
        outcome: What the training leaves beside the model and its curve, by name: it is stored with them.
        constants: Objects that the model holds and never changes, such as the expert that students imitate.
    """
    make_noise_for_each_env(model)
    found = checkpoints.restore({"model": model, "curve": curve, **(outcome or {})}, constants=constants)
    if found is not None:
        tick(found.steps, resumed=True)
    if found is None or not found.ended:
        if found is not None and not found.in_mid_episode:
            begin_new_episodes(model)
        with (
            checkpoints.logger(configure, LOG_FORMATS) as logger,
            checkpoints.deferring_interrupts(),
            before_each_rollout(model, total_timesteps, checkpoints.save_if_due),
        ):
            model.set_logger(logger)
            model.learn(
                total_timesteps - model.num_timesteps,  # to which SB3 adds those that were done
                callback=[curve, _ShowProgress(curve, tick), *callbacks],
                reset_num_timesteps=found is None,
            )
        left = [getattr(model, name, None) for name in ("replay_buffer", "env")]
        checkpoints.save_final(model.num_timesteps, without=[each for each in left if each is not None])
    tick(model.num_timesteps, {"return": curve.kept_mean_return})


class _ShowProgress(BaseCallback):
    """Shows the newest return of the learning curve beside that of training."""

    def __init__(self, curve: LearningCurve, tick: Tick) -> None:
        super().__init__()
        self.curve = curve
        self.tick = tick

    def _on_step(self) -> bool:
        returns = {"return": self.curve.last_mean_return, "in training": _return_of(self.model)}
        self.tick(self.num_timesteps, returns)
        return True


def _return_of(model: BaseAlgorithm) -> float:
    """The mean return of the last episodes of training, as SB3 logs it (`rollout/ep_rew_mean`); NaN of none.

    Stochastic policies sample there, and explore: it may be far from what evaluations measure.
    """
    episodes = model.ep_info_buffer
    return sum(episode["r"] for episode in episodes) / len(episodes) if episodes else float("nan")
