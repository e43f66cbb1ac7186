"""The price of decentralization where it is known, and of real runs."""

import dataclasses
import json
import math
import shutil
from contextlib import closing

import numpy as np
import pytest

import cesma_sb3
from cesma_sb3 import cli
from cesma_sb3.analysis.price import price
from cesma_sb3.analysis.price.measurement import GapMeasurement
from cesma_sb3.analysis.price.rollouts import with_messages_of
from cesma_sb3.errors import ConfigError, StorageError
from cesma_sb3.spaces.communication import MessageChannel
from cesma_sb3.training.evaluator import Evaluator
from cesma_sb3.training.run_folder import RunFolder
from tests.price.hidden_goal import LENGTH, N_GOALS, SURE
from tests.price.test_estimates import students

EVALUATION = {"n_final_episodes": 32, "n_eval_episodes": 8, "eval_freq": 2000, "n_envs": 32}


def named(found, name, agent=None):
    (row,) = (row for row in found.rows if row.name == name and row.agent == agent)
    return row


def hidden_goal(tmp_path, expert, **more):
    """A run of a game in which the price is known."""
    values = {
        "env": {"id": "tests.price.hidden_goal:HiddenGoal"},
        "expert": {"algorithm": f"tests.price.hidden_goal:{expert}", "total_timesteps": 0},
        "students": {"network": "feed-forward", "hidden_sizes": [16]},
        "dagger.total_timesteps": 4000,
        "dagger.n_envs": 8,
        "dagger.batch_size": 64,
        "dagger.samples_per_update": 16,
        "dagger.keep": "last",  # the return says nothing of who sees
        "dagger.learning_rate": 1e-2,
        "evaluation": {**EVALUATION, "n_final_episodes": 200},
    }
    run = cesma_sb3.run("spread-3-scripted", out=tmp_path / "run", **{**values, **more})
    return price(run.run_dir)


@pytest.fixture(scope="module")
def hidden(tmp_path_factory):
    return hidden_goal(tmp_path_factory.mktemp("hidden"), "expert")


def test_what_the_blind_agent_loses_is_what_it_cannot_see(hidden):
    expected = LENGTH * (1 - 1 / N_GOALS)
    lost = named(hidden, "return lost")
    assert lost.low < expected < lost.high
    assert named(hidden, "loss", "blind").value == pytest.approx(math.log(N_GOALS), abs=0.08)
    partial = named(hidden, "lost to partial observation", "blind")
    assert partial.value == pytest.approx(math.log(N_GOALS), abs=0.1)
    assert named(hidden, "lost to fitting", "blind").value < 0.05
    assert named(hidden, "disagreement", "blind").value == pytest.approx(1 - 1 / N_GOALS, abs=0.1)
    seeing = named(hidden, "lost to partial observation", "sees")
    assert abs(seeing.value) < 0.05
    assert named(hidden, "disagreement", "sees").value == 0.0
    assert named(hidden, "u: largest cost of one deviation").value is None
    assert named(hidden, "T: episode").value == LENGTH
    assert "begin in the same state" in named(hidden, "return lost").how
    # What the best in hindsight cannot avoid: the blind agent's guess.
    hindsight = named(hidden, "mu_N: best in hindsight, at most")
    assert hindsight.value == pytest.approx(math.log(N_GOALS), abs=0.15)
    assert hindsight.how.endswith("at most 1.")


@pytest.mark.no_cover
def test_what_an_unsure_expert_leaves_open_is_lost_to_nothing(tmp_path):
    found = hidden_goal(tmp_path, "unsure", **{"dagger.labels": "soft"})
    others = (1 - SURE) / (N_GOALS - 1)
    entropy = -SURE * math.log(SURE) - (1 - SURE) * math.log(others)
    assert named(found, "least possible loss", "blind").value == pytest.approx(entropy, abs=1e-5)
    assert named(found, "lost to fitting", "blind").value == pytest.approx(0.0, abs=0.05)
    partial = named(found, "lost to partial observation", "blind")
    assert partial.value == pytest.approx(math.log(N_GOALS) - entropy, abs=0.1)
    parts = [named(found, name, "blind").value for name in ("lost to fitting", "least possible loss")]
    assert sum(parts) + partial.value == pytest.approx(named(found, "loss", "blind").value)


@pytest.fixture(scope="module")
def run(shared_run, tmp_path_factory):
    return shutil.copytree(shared_run("scripted"), tmp_path_factory.mktemp("spread") / "run")


@pytest.fixture(scope="module")
def found(run):
    return price(run)


def test_costs_of_single_deviations_add_up_to_the_return_lost(found):
    thirds = sum(
        named(found, f"lost in the {n} third of the steps").value for n in ("first", "second", "last")
    )
    lost = named(found, "return lost")
    assert thirds == pytest.approx(lost.value, abs=1e-3)
    assert lost.value > 0
    bound = named(found, "bound: u T epsilon")
    u, epsilon = (
        named(found, "u: largest cost of one deviation").value,
        named(found, "epsilon: joint disagreement"),
    )
    assert u >= named(found, "u of the students' actions").value
    assert bound.value == pytest.approx(u * 25 * epsilon.value)
    assert bound.low < bound.value < bound.high
    assert bound.value > lost.value
    assert named(found, "gamma_N: regret").value is None


def test_a_loss_is_divided_without_a_rest(found):
    for agent in ("agent_0", "agent_1", "agent_2"):
        names = ("fitting", "partial observation", "the choice of weights")
        parts = [named(found, f"lost to {what}", agent).value for what in names]
        loss = named(found, "loss", agent).value
        assert sum(parts) == pytest.approx(loss)
        drift = named(found, "lost to drifting away", agent).value
        assert drift == pytest.approx(loss - named(found, "loss in the expert's states", agent).value)
        thirds = [
            named(found, f"loss in the {n} third of the steps", agent).value
            for n in ("first", "second", "last")
        ]
        assert sum(w * third for w, third in zip((9, 8, 8), thirds, strict=True)) / 25 == pytest.approx(loss)


def test_the_share_of_the_experts_gain_is_that_of_the_means(run, found):
    report = json.loads((run / "report.json").read_text())["return"]
    gained = (report["students"] - report["random"]) / (report["expert"] - report["random"])
    row = named(found, "share of the expert's gain")
    assert row.value == pytest.approx(gained)
    assert row.low < gained < row.high


def test_it_is_the_same_again_and_in_the_run_folder(run, found, capsys):
    written = json.loads((run / "price.json").read_text())
    assert [dataclasses.asdict(row) for row in found.rows] == written["rows"]
    assert written["settings"] == {"episodes": 32, "seed": 0, "timesteps": 4000}
    with pytest.raises(SystemExit) as ended:
        cli.main(["price", str(run), "--json"])
    assert ended.value.code == 0
    assert json.loads(capsys.readouterr().out) == written
    with pytest.raises(SystemExit):
        cli.main(["price", str(run), "--timesteps", "0", "--episodes", "16", "--seed", "3"])
    table = capsys.readouterr().out
    assert "return lost" in table
    assert "lost to partial observation" not in table


def test_who_talks_is_also_measured_without_being_heard(shared_run, tmp_path):
    run = shutil.copytree(shared_run("talking"), tmp_path / "run")
    found = price(run, timesteps=1000)
    for change in ("shuffled", "zeroed", "random"):
        assert named(found, f"return lost with messages {change}").low is not None
    told = named(found, "information of the message about listener_0's goal", "speaker_0")
    most = named(found, "entropy of listener_0's goal", "speaker_0").value
    assert 0.0 <= told.low <= told.value <= told.high <= most + 1e-9
    assert most <= math.log2(3) + 0.1
    assert "permutations" in told.how
    alone = cesma_sb3.run(
        "speaker-listener-scripted",
        out=tmp_path / "alone",
        **{
            "dagger.total_timesteps": 256,
            "dagger.n_envs": 16,
            "evaluation": {**EVALUATION, "n_final_episodes": 4, "n_envs": 1},
        },
    )
    shuffled = named(price(alone.run_dir, timesteps=0), "return lost with messages shuffled")
    assert shuffled.value is None
    assert "there is no other environment" in shuffled.how


def test_students_with_a_memory_have_losses_too(tmp_path):
    values = {
        "dagger.total_timesteps": 1024,
        "dagger.keep": "last",
        "students": {"network": "recurrent", "hidden_sizes": [8]},
        "dagger.batch_size": 4,
        "dagger.n_envs": 8,
        "evaluation": {**EVALUATION, "n_final_episodes": 8},
    }
    found = price(cesma_sb3.run("spread-3-scripted", out=tmp_path / "run", **values).run_dir)
    assert named(found, "disagreement", "agent_0").value > 0
    parts = [named(found, f"lost to {what}", "agent_0").value for what in ("fitting", "partial observation")]
    assert sum(parts) == pytest.approx(named(found, "loss", "agent_0").value)
    assert named(found, "u: largest cost of one deviation").value is None


def test_students_that_are_trained_again_are_the_runs_own(shared_run):
    folder = RunFolder.open(shared_run("talking"))
    with closing(Evaluator(folder.experiment)) as evaluator:
        measured = GapMeasurement(folder, folder.experiment, evaluator)
        assert measured.train_comparison_students(2048, progress=False).own_view is None
        again = measured.train_comparison_students(2064, progress=False).own_view
        assert measured.train_comparison_students(0, progress=False) is None
        twice = measured._train(2048, False, "own")
    # Who talked hears nothing new; who did not, hears a code of its own, and nothing else changes.
    for rollouts in (measured.students_rollouts, measured.expert_rollouts):
        np.testing.assert_array_equal(with_messages_of(twice, rollouts).observations, rollouts.observations)
    other, there = students(measured.team, network="feed-forward"), measured.students_rollouts
    changed = with_messages_of(other, there)
    heard = np.zeros(measured.team.observation_size, dtype=bool)
    heard[MessageChannel.of(measured.team).places] = True
    np.testing.assert_array_equal(changed.observations[:, ~heard], there.observations[:, ~heard])
    said, _ = other.predict(changed.observations, deterministic=True)
    for episode in range(3):
        steps = np.flatnonzero(there.episodes == episode)
        assert not changed.observations[steps[0], heard].any()
        symbols = changed.observations[steps[1:]][:, heard].argmax(axis=1)
        np.testing.assert_array_equal(symbols, said[steps[:-1], 0])
    kept = measured.policy.action_net.state_dict()
    for name, weights in twice.action_net.state_dict().items():
        assert weights.equal(kept[name])
    assert any(not weights.equal(kept[name]) for name, weights in again.action_net.state_dict().items())


def test_what_has_no_price(tmp_path, run):
    with pytest.raises(StorageError, match="no such folder"):
        price(tmp_path / "nothing")
    with pytest.raises(ConfigError, match="timesteps: expected at least 0, got -1"):
        price(run, timesteps=-1)
    baseline = {
        "expert.total_timesteps": 200,
        "expert.n_envs": 4,
        "evaluation": {**EVALUATION, "n_final_episodes": 4},
    }
    out = cesma_sb3.run("spread-3-iql", out=tmp_path / "iql", **baseline).run_dir
    with pytest.raises(ConfigError, match="dagger is null: a baseline has no expert"):
        price(out)
