"""An expert of the silent view labels the full team, and nothing that is said changes its labels."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from stable_baselines3 import PPO

from cesma_sb3.envs.particle import ParticleVecEnv, make_scenario
from cesma_sb3.experts import SB3Expert, SoftExpert
from cesma_sb3.experts.scripted.reference import reference_expert
from cesma_sb3.experts.wrappers import TranslatedExpert
from cesma_sb3.spaces.team_views import message_free_view
from tests.message_free import message_free

VARIANTS: list[tuple[str, dict[str, Any]]] = [
    ("speaker-listener", {}),
    ("speaker-listener", {"continuous_actions": True}),
    ("navigation-comm", {"n_agents": 3, "n_landmarks": 5}),
    ("navigation-comm", {"continuous_actions": True}),
]


def with_other_messages(venv: ParticleVecEnv, observations: np.ndarray) -> np.ndarray:
    changed = observations.copy()
    for agent, start in zip(venv.team.agents, venv.team.observation_slices, strict=True):
        layout = venv.team.layouts[agent].observation
        for part in layout.parts:
            if part.kind == "message":
                changed[:, start][:, layout.slice(part.name)] += 1.0
    assert not np.array_equal(changed, observations)
    return changed


@pytest.mark.parametrize(("name", "kwargs"), VARIANTS)
def test_labels_ignore_messages(name: str, kwargs: dict[str, Any]) -> None:
    venv = ParticleVecEnv(make_scenario(name, **kwargs), 16, seed=0)
    quiet, full = reference_expert(message_free(venv)), reference_expert(venv)
    assert quiet is not None
    assert full is not None
    expert = TranslatedExpert(quiet, message_free_view(venv.team))
    assert isinstance(expert, SoftExpert) == isinstance(quiet, SoftExpert)
    observations = venv.reset()
    labels = expert.labels(observations)
    np.testing.assert_array_equal(labels, full.labels(observations))
    np.testing.assert_array_equal(labels, expert.labels(with_other_messages(venv, observations)))


@pytest.mark.parametrize("name", ["speaker-listener", "navigation-comm"])
def test_what_sb3_trained_in_the_silent_view_labels_softly(name: str) -> None:
    venv = ParticleVecEnv(make_scenario(name), 4, seed=0)
    quiet = message_free(venv)
    model = PPO("MlpPolicy", quiet, n_steps=8, batch_size=8, n_epochs=1, seed=0, device="cpu").learn(64)
    expert = TranslatedExpert(SB3Expert(model, quiet.team, quiet.view), quiet.team_view)
    assert isinstance(expert, SoftExpert)
    observations = venv.reset()
    masks = np.ones((4, venv.team.mask_size), dtype=bool)
    labels, soft = expert.labels(observations, masks), expert.probabilities(observations, masks)
    assert soft.shape == (4, venv.team.mask_size)
    assert soft.dtype == np.float32
    for column, where in enumerate(venv.team.column_masks):
        np.testing.assert_allclose(soft[:, where].sum(axis=1), 1.0, atol=1e-5)
        np.testing.assert_array_equal(soft[:, where].argmax(axis=1), labels[:, column])
    np.testing.assert_array_equal(soft, expert.probabilities(with_other_messages(venv, observations), masks))
