"""The price of decentralization where it is known, and of real runs."""

import dataclasses
import json
import math

import numpy as np
import pytest
from scipy import stats

import cesma_sb3
from cesma_sb3 import cli
from cesma_sb3.errors import ConfigError, StorageError
from cesma_sb3.joint.spaces import TeamSpaces
from cesma_sb3.price import price
from cesma_sb3.price.information import by_chance, entropy, mutual_information
from cesma_sb3.price.regions import entry_names, regions
from cesma_sb3.price.rows import mean_row
from tests.price.hidden_goal import LENGTH, N_GOALS, HiddenGoal

EVALUATION = {"episodes": 32, "curve_episodes": 8, "every": 2000, "n_envs": 8}


def named(found, name, agent=None):
    (row,) = (row for row in found.rows if row.name == name and row.agent == agent)
    return row


@pytest.mark.parametrize("n", [2, 4, 8])
def test_a_perfect_code_tells_all_and_a_random_one_nothing(n):
    rng = np.random.default_rng(0)
    goals = rng.integers(n, size=4000)
    assert entropy(goals) == pytest.approx(math.log2(n), abs=0.01)
    assert mutual_information(goals, (goals + 1) % n) == pytest.approx(math.log2(n), abs=0.01)
    noise = rng.integers(n, size=4000)
    assert mutual_information(goals, noise) == pytest.approx(0.0, abs=0.01)
    chance, p = by_chance(goals, noise, rng)
    assert chance == pytest.approx(0.0, abs=0.01)
    assert p > 0.02
    assert by_chance(goals, goals, rng)[1] == pytest.approx(1 / 201)


def test_a_noisy_code_tells_what_shannon_says():
    rng = np.random.default_rng(1)
    goals = rng.integers(2, size=40_000)
    said = np.where(rng.random(40_000) < 0.11, 1 - goals, goals)
    capacity = 1 + 0.11 * math.log2(0.11) + 0.89 * math.log2(0.89)
    assert mutual_information(goals, said) == pytest.approx(capacity, abs=0.01)


def test_intervals_are_students():
    values = np.random.default_rng(2).normal(3.0, 2.0, size=20)
    row = mean_row("x", np.append(values, np.nan), "return", "How.")
    low, high = stats.ttest_1samp(values, 0.0).confidence_interval()
    assert (row.value, row.low, row.high) == pytest.approx((values.mean(), low, high))
    assert mean_row("x", np.full(4, 2.0), "return", "How.").low == 2.0
    assert mean_row("x", np.array([2.0]), "return", "How.").low is None
    assert mean_row("x", np.array([np.nan]), "return", "How.").value is None


def test_a_region_of_disagreement_is_found_and_named():
    team = TeamSpaces.from_parallel_env(HiddenGoal())
    observations = np.random.default_rng(3).random((2000, team.observation_size), dtype=np.float32)
    differs = observations[:, 5] > 0.8
    learns = np.arange(2000) % 2 == 0
    assert entry_names(team)[5] == "blind shown.1"
    worst = regions(observations, differs, team, learns=learns)[0]
    assert worst.condition.startswith("blind shown.1 > 0.8")
    assert differs[worst.inside & ~learns].mean() > 0.98
    assert regions(observations, np.zeros(2000, dtype=bool), team, learns=learns) == []


@pytest.fixture(scope="module")
def hidden(tmp_path_factory):
    """Of a game in which the price is known."""
    values = {
        "env": {"id": "tests.price.hidden_goal:HiddenGoal"},
        "expert": {"algorithm": "tests.price.hidden_goal:expert", "total_timesteps": 0},
        "students": {"network": "feed-forward", "hidden_sizes": [16]},
        "dagger.total_timesteps": 6000,
        "dagger.n_envs": 8,
        "dagger.batch_size": 64,
        "dagger.samples_per_update": 16,
        "dagger.keep": "last",  # the return says nothing of who sees
        "dagger.learning_rate": 1e-2,
        "evaluation": {**EVALUATION, "episodes": 200},
    }
    run = cesma_sb3.run("spread-3-scripted", out=tmp_path_factory.mktemp("hidden") / "run", **values)
    return price(run.run_dir)


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


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    values = {"dagger.total_timesteps": 4000, "dagger.n_envs": 16, "evaluation": EVALUATION}
    out = tmp_path_factory.mktemp("spread") / "run"
    return cesma_sb3.run("spread-3-scripted", out=out, **values).run_dir


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
    bound = named(found, "Theorem 1: u T mu_N").value
    u, mu = named(found, "u: largest cost of one deviation").value, named(found, "mu_N: joint disagreement")
    assert bound == pytest.approx(u * 25 * mu.value)
    assert bound > lost.value


def test_a_loss_is_divided_without_a_rest(found):
    for agent in ("agent_0", "agent_1", "agent_2"):
        parts = [named(found, f"lost to {what}", agent).value for what in ("fitting", "partial observation")]
        assert sum(parts) == pytest.approx(named(found, "loss", agent).value)


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


def test_who_talks_is_also_measured_without_being_heard(tmp_path):
    values = {"dagger.total_timesteps": 3000, "dagger.n_envs": 16, "evaluation": EVALUATION}
    run = cesma_sb3.run("speaker-listener-scripted", out=tmp_path / "run", **values).run_dir
    found = price(run, timesteps=1000)
    for change in ("shuffled", "zeroed", "random"):
        assert named(found, f"return lost with messages {change}").low is not None
    told = named(found, "information of the message about listener_0's goal", "speaker_0")
    assert 0.0 <= told.value <= math.log2(3) + 0.1
    assert "permutations" in told.how


def test_students_with_a_memory_have_no_loss_of_single_steps(tmp_path):
    values = {
        "dagger.total_timesteps": 1000,
        "students": {"network": "recurrent", "hidden_sizes": [8]},
        "dagger.batch_size": 4,
        "dagger.n_envs": 8,
        "evaluation": {**EVALUATION, "episodes": 8},
    }
    found = price(cesma_sb3.run("spread-3-scripted", out=tmp_path / "run", **values).run_dir)
    assert named(found, "loss", "agent_0").value is None
    assert named(found, "disagreement", "agent_0").value > 0
    assert named(found, "u: largest cost of one deviation").value is None


def test_what_has_no_price(tmp_path, run):
    with pytest.raises(StorageError, match="no such folder"):
        price(tmp_path / "nothing")
    with pytest.raises(ConfigError, match="timesteps: expected at least 0, got -1"):
        price(run, timesteps=-1)
    baseline = {
        "expert.total_timesteps": 200,
        "expert.n_envs": 4,
        "evaluation": {**EVALUATION, "episodes": 4},
    }
    out = cesma_sb3.run("spread-3-iql", out=tmp_path / "iql", **baseline).run_dir
    with pytest.raises(ConfigError, match="dagger is null: nobody was imitated"):
        price(out)
