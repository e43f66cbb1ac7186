"""How much memory there is, and what is said of a dataset before anything trains."""

import pytest
from gymnasium import spaces

from cesma_sb3.config.registry import load_experiment
from cesma_sb3.errors import ConfigError
from cesma_sb3.spaces.team_spaces import TeamSpaces
from cesma_sb3.training import dataset_size as module
from cesma_sb3.utils import memory as memory_module
from cesma_sb3.utils.memory import in_words, memory


@pytest.mark.parametrize(
    ("n_bytes", "words"),
    [
        (0, "0 bytes"),
        (1023, "1023 bytes"),
        (1024, "1.0 KiB"),
        (44_236_800_000, "41.2 GiB"),
        (2**80, "1073741824.0 PiB"),
    ],
)
def test_in_words(n_bytes, words):
    assert in_words(n_bytes) == words


def test_the_least_limit_counts(tmp_path, monkeypatch):
    machine = memory()
    assert machine > 2**27
    container = tmp_path / "memory.max"
    monkeypatch.setattr(memory_module, "_CONTAINER", container)
    for text, limit in (("max\n", machine), ("1048576\n", 2**20), (f"{2**62}\n", machine), ("", machine)):
        container.write_text(text)
        assert memory() == limit


def dataset_of(monkeypatch, there_is, **overrides):
    pixels = spaces.Box(0, 255, (96, 96, 3), "uint8")
    acts = spaces.Discrete(3)
    team = TeamSpaces(["a", "b"], {"a": pixels, "b": pixels}, {"a": acts, "b": acts})
    monkeypatch.setattr(module, "memory", lambda: there_is)
    values = {f"dagger.{key}": value for key, value in overrides.items()}
    experiment = load_experiment("spread-3-gumbel-softmax", values, check_names=False)
    return module.dataset_size(experiment.dagger, 0, team)


def test_a_dataset_takes_what_its_samples_take(monkeypatch):
    few = {"total_timesteps": 200, "n_envs": 2}
    assert dataset_of(monkeypatch, 2**34, **few) == "10.6 MiB"  # 201 of 2 * 96 * 96 * 3 bytes, and a little
    assert dataset_of(monkeypatch, None, capacity=10, batch_size=10, **few) == "540.2 KiB"
    assert dataset_of(monkeypatch, 2**40, total_timesteps=10**9) == "10.3 GiB"


def test_a_dataset_that_cannot_fit_is_refused_with_what_would(monkeypatch):
    with pytest.raises(ConfigError) as caught:
        dataset_of(monkeypatch, 2**33, total_timesteps=10**9)
    told = str(caught.value)
    expected = (
        "dagger.capacity 200000: the dataset would take up to 10.3 GiB for 200,000 samples, and there are "
        "8.0 GiB of memory; expected at most "
    )
    assert told.startswith(expected)
    most = int(told.rpartition(" ")[2])
    assert dataset_of(monkeypatch, 2**33, total_timesteps=10**9, capacity=most) == "8.0 GiB"
