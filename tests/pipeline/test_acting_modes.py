"""An expert that is a distribution acts, is imitated and is measured in the way in which it is better."""

import json

import numpy as np
import pytest
import torch as th

import cesma_sb3
from cesma_sb3.analysis.price import price
from cesma_sb3.analysis.recording import record_episodes
from cesma_sb3.errors import ConfigError, ExpertWarning
from cesma_sb3.evaluation import Returns
from cesma_sb3.experts import SamplingExpert
from cesma_sb3.policies import load_team
from cesma_sb3.training.acting_mode import below_random, is_clearly_better
from cesma_sb3.training.evaluate_run import evaluate_run
from cesma_sb3.training.run_folder import RunFolder
from tests.bring.controllers import Polite, polite
from tests.envs_for_tests import Doorway
from tests.faults.interrupted import results, run_in_pieces

SMALL = {
    "students.hidden_sizes": [8],
    "dagger.n_envs": 16,
    "dagger.batch_size": 32,
    "dagger.samples_per_update": 16,
    "evaluation": {"n_final_episodes": 80, "n_eval_episodes": 40, "eval_freq": 800, "n_envs": 16},
}
LOGITS = {**SMALL, "expert.outputs": "logits"}


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    """A run whose expert needs draws."""
    out = tmp_path_factory.mktemp("ways") / "run"
    expert = "tests.bring.controllers:polite"
    env = {"id": "tests.envs_for_tests:Doorway", "kwargs": {"render_mode": "rgb_array"}}
    return cesma_sb3.decentralize(expert, env, total_timesteps=3_200, out=out, **LOGITS)


def test_the_better_way_is_the_experts_and_its_students(done):
    report = done.report
    assert report["acting_modes"]["expert"]["deterministic"]["return"] == 0.0
    assert report["acting_modes"]["expert"]["stochastic"]["return"] > 0.95
    assert report["return"]["expert"] == report["acting_modes"]["expert"]["stochastic"]["return"]
    assert report["deterministic"] == {"expert": False, "students": False}
    assert report["return"]["students"] > 0.95
    assert report["return"]["random"] < 0.6
    assert any(note.endswith("it acts stochastically") for note in report["notes"])
    assert isinstance(done.expert, SamplingExpert)


def test_an_agent_of_it_draws_unless_asked_not_to(done):
    agent = load_team(done.run_dir / "students").agent("left")
    th.manual_seed(0)
    seen = np.full(2, 0.5, dtype=np.float32)
    drawn = {agent.predict(seen)[0] for _ in range(40)}
    assert drawn == {0, 1}
    assert {agent.predict(seen, deterministic=True)[0] for _ in range(40)} == {0}


def test_it_is_measured_again_as_it_was(done):
    again = evaluate_run(done.run_dir)
    assert again["return"] == done.report["return"]
    (first, *_) = record_episodes(done.run_dir, episodes=4)["students"]
    assert first.returns[-1] == json.loads((done.run_dir / "episodes.json").read_text())["students"][0]
    other = evaluate_run(done.run_dir, **{"expert.deterministic": True})
    assert other["return"]["expert"] == 0.0


def test_its_price_says_that_it_draws(done):
    rows = price(done.run_dir, timesteps=0).rows
    told = {row.name: row for row in rows if row.agent in (None, "left")}
    assert "are draws" in told["disagreement"].how
    assert told["disagreement"].value == pytest.approx(0.5, abs=0.1)  # two draws, of their own
    entropy = -sum(p * np.log(p) for p in (0.5 + 0.025, 0.5 - 0.025))
    assert told["loss"].value == pytest.approx(entropy, abs=0.05)  # of soft labels


def test_a_key_says_which_way(tmp_path):
    values = {**LOGITS, "expert.deterministic": True, "evaluation.n_final_episodes": 40}
    with pytest.warns(ExpertWarning, match="expert: returns 0, less than a random team"):
        result = cesma_sb3.decentralize(
            polite, Doorway, total_timesteps=400, out=tmp_path / "fixed", **values
        )
    assert result.report["deterministic"] == {"expert": True, "students": True}
    assert result.report["return"]["students"] == 0.0
    assert result.report["acting_modes"]["expert"]["stochastic"]["return"] > 0.9
    assert any("less than a random team" in note for note in result.report["notes"])
    # Students that draw learn from labels that do not.
    values = {**values, "students.deterministic": False}
    with pytest.warns(ExpertWarning):
        result = cesma_sb3.decentralize(
            polite, Doorway, total_timesteps=400, out=tmp_path / "students", **values
        )
    assert result.report["deterministic"] == {"expert": True, "students": False}


def test_soft_labels_of_somebodys_own_class_are_a_distribution_too(tmp_path):
    values = {**SMALL, "dagger.labels": "hard"}
    result = cesma_sb3.decentralize(Polite(), Doorway, total_timesteps=3_200, out=tmp_path / "run", **values)
    assert result.report["deterministic"] == {"expert": False, "students": False}
    assert result.report["return"]["students"] > 0.9  # of labels that were drawn


def test_pieces_make_the_same_run(tmp_path):
    """What the expert and the students draw goes on where it was, bit by bit."""
    values = {
        "env": {"id": "spread", "kwargs": {"n_agents": 2}},
        "expert": {
            "algorithm": "tests.bring.controllers:uneven",
            "outputs": "logits",
            "deterministic": False,
        },
        "dagger": {"total_timesteps": 192, "labels": "hard"},
        "checkpoint": {"save_freq": 64},
    }
    (tmp_path / "uneven.yaml").write_text(json.dumps(values))
    small = {
        **SMALL,
        "evaluation.n_final_episodes": 4,
        "evaluation.n_eval_episodes": 4,
        "evaluation.eval_freq": 96,
    }
    whole, pieces = tmp_path / "whole", tmp_path / "pieces"
    cesma_sb3.run(tmp_path / "uneven.yaml", out=whole, **small)
    assert len(run_in_pieces(tmp_path / "uneven.yaml", pieces, **small)) > 2
    assert RunFolder.open(pieces).report()["deterministic"] == {"expert": False, "students": False}
    assert results(whole) == results(pieces)


def test_what_was_chosen_is_not_chosen_again(done, tmp_path):
    """Where an environment ignores its seeds, a second look may say another thing."""
    (done.run_dir / "acting_modes.json").write_text(json.dumps({"expert": {"deterministic": True}}))
    try:
        assert evaluate_run(done.run_dir, episodes=8)["return"]["expert"] == 0.0
    finally:
        (done.run_dir / "acting_modes.json").write_text(json.dumps({"expert": {"deterministic": False}}))


def test_who_is_no_distribution_cannot_draw(tmp_path):
    with pytest.raises(ConfigError, match=r"^expert\.deterministic: false: scripted has no distribution"):
        cesma_sb3.run("spread-3-scripted", out=tmp_path / "run", **{"expert.deterministic": False})


def episodes(*returns):
    team = np.array(returns, dtype=float)
    return Returns(team, np.ones(len(team), dtype=int), {})


def test_draws_must_be_clearly_better():
    rng = np.random.default_rng(0)
    noise = rng.normal(size=400)
    assert not is_clearly_better(episodes(*noise), episodes(*noise))
    assert not is_clearly_better(episodes(*(noise + 0.1)), episodes(*noise))  # one and a half errors
    assert is_clearly_better(episodes(*(noise + 0.2)), episodes(*noise))
    assert is_clearly_better(episodes(1.0, 1.0), episodes(0.0, 0.0))
    assert not is_clearly_better(episodes(1.0), episodes(0.0))
    assert below_random("expert", episodes(*(noise + 0.2)), episodes(*noise)) is None
    assert below_random("expert", episodes(*noise), episodes(*(noise + 0.2))).startswith("expert: returns ")
