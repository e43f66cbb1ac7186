"""The memory that students' samples will take, which is known before anything trains."""

from __future__ import annotations

from cesma_sb3.config.schema import DaggerConfig
from cesma_sb3.envs.experience import experience_bytes
from cesma_sb3.errors import ConfigError
from cesma_sb3.imitation.dataset import sample_bytes
from cesma_sb3.spaces.communication import MessageChannel
from cesma_sb3.spaces.team_spaces import TeamSpaces
from cesma_sb3.utils.memory import in_words, memory


def dataset_size(config: DaggerConfig, n_recorded: int, team: TeamSpaces, *, has_memory: bool = False) -> str:
    """Returns the most memory that the expert's experience and the students' dataset take, in words.

    Args:
        config: How the students learn.
        n_recorded: Samples that are visited before they act; those beyond `capacity` are not kept.
        team: The team.
        has_memory: Whether the students learn from whole episodes, which have the step before each.

    Raises:
        ConfigError: There is nothing to learn from, or it would take more than this machine has.
    """
    n_visited = min(config.capacity, n_recorded or config.rollout_timesteps)
    n_samples = min(config.capacity, n_visited + config.total_timesteps + config.n_envs - 1)
    if not (n_visited or config.total_timesteps):
        raise ConfigError(
            "dagger.total_timesteps: 0, and this expert has no experience to learn from; expected more, "
            "dagger.experience.rollout_timesteps, or a file expert.experience"
        )
    size = n_visited * experience_bytes(team) + n_samples * sample_bytes(
        team,
        has_masks=team.has_masks,
        soft_labels=config.labels == "soft",
        communicates=MessageChannel.of(team) is not None and not has_memory,
    )
    available = memory()
    if available is not None and size > available:
        raise ConfigError(
            f"dagger.capacity {config.capacity}: the dataset would take up to {in_words(size)} for "
            f"{n_samples:,} samples, and there are {in_words(available)} of memory; expected at most "
            f"{available * n_samples // size}"
        )
    return in_words(size)
