"""Episodes that are all alike are one measurement: no interval, and one line that says so."""

import numpy as np
import pytest
from scipy.stats import binomtest

from cesma_sb3.analysis.comparison.statistics import aggregates, improvement
from cesma_sb3.analysis.comparison.tables import Section, interval_warnings
from cesma_sb3.analysis.price.estimates import mean_estimate, ratio_estimate
from cesma_sb3.analysis.price.mutual_information import jackknife_interval
from cesma_sb3.cli.output import print_result
from cesma_sb3.config.registry import load_experiment
from cesma_sb3.envs.joint_vec_env import joint_vec_env
from cesma_sb3.evaluation import Returns, evaluate, random_actor
from cesma_sb3.training.report import make_report
from cesma_sb3.training.run_files import to_json
from tests.envs_for_tests import MatchingGame, ReachEnv


class SameCues(MatchingGame):
    """The cues of every episode are the same, whatever the seed."""

    def begin(self):
        self.cues = {agent: (number + self.t) % 3 for number, agent in enumerate(self.possible_agents)}


class SameGoals(ReachEnv):
    """Likewise of numbers."""

    def begin(self):
        self.goals = {agent: np.full(1, 0.1 * self.t, np.float32) for agent in self.possible_agents}


class SecretChance(SameCues):
    """What is seen is always the same; the rewards are drawn."""

    def step(self, actions):
        observations, rewards, *rest = super().step(actions)
        return observations, dict.fromkeys(rewards, self.rng.normal()), *rest


def by_cue(observations, masks):
    return observations.reshape(len(observations), 2, -1).argmax(axis=2)


def still(observations, masks):
    return np.zeros((len(observations), 2), dtype=np.float32)


def returns_of(env, act, n_episodes=12, n_envs=5):
    venv = joint_vec_env(env, n_envs, seed=0, team_reward="sum" if issubclass(env, ReachEnv) else "shared")
    return evaluate(act, venv, n_eval_episodes=n_episodes, seed=1)


@pytest.mark.parametrize(("env", "act"), [(SameCues, by_cue), (SameGoals, still)])
def test_a_game_without_chance_is_measured_once(env, act):
    found = returns_of(env, act)
    assert (len(found.team), found.n_samples, found.are_alike) == (12, 1, True)
    assert np.isnan(found.standard_error)
    assert not returns_of(env, act, n_episodes=1).are_alike


@pytest.mark.parametrize(
    ("env", "act"),
    [(MatchingGame, by_cue), (SecretChance, by_cue), (ReachEnv, still)],
    ids=["always solved", "drawn rewards", "drawn goals"],
)
def test_a_game_of_chance_is_a_sample(env, act):
    """Also where the policy always gets the same return: what it saw on the way was not the same."""
    found = returns_of(env, act)
    assert (found.n_samples, found.are_alike) == (12, False)
    assert found.standard_error == pytest.approx(found.team.std(ddof=1) / np.sqrt(12))


def test_a_policy_of_chance_is_a_sample():
    team = joint_vec_env(SameCues, 1, seed=0).team
    assert returns_of(SameCues, random_actor(team, np.random.default_rng(0))).n_samples == 12


def battles(won, traces):
    team = np.asarray(won, dtype=float)
    return Returns(team, np.full(len(team), 7), {"a": team}, team > 0, np.asarray(traces, dtype=float))


def test_win_rates():
    low, high = battles([1, 1, 1, 1], [0.1, 0.2, 0.3, 0.4]).win_interval
    expected = binomtest(4, 4).proportion_ci(method="wilson")
    assert (low, high) == (expected.low, expected.high)
    assert battles([1, 1, 1, 1], [0.1] * 4).win_interval is None
    assert battles([1], [0.1]).win_interval is None
    assert battles([1, 0], [0.1, 0.1]).win_interval is not None


def test_the_report_and_the_console_say_so(capsys):
    experiment = load_experiment("spread-3-scripted", {"evaluation.n_final_episodes": 4})
    alike, drawn = battles([1, 1, 1, 1], [0.1] * 4), battles([0, 1, 0, 1], [0.1, 0.2, 0.3, 0.4])
    report = to_json(make_report(experiment, {"expert": alike, "students": alike, "random": drawn}))
    assert report["standard_error"]["expert"] is None
    assert report["standard_error"]["random"] > 0
    assert report["win_rate"]["students"] == {"rate": 1.0, "low": None, "high": None}
    (note,) = report["notes"]
    assert note == (
        "expert, students: 4 evaluation episodes are all alike: the environment has no randomness, or "
        "ignores its seed; counted as one"
    )
    print_result("game", report)
    shown = capsys.readouterr().out
    assert f"note: {note}" in shown
    row = next(line for line in shown.splitlines() if line.strip().startswith("students"))
    assert row.split()[-2:] == ["1.00", "-"]
    assert "notes" not in make_report(experiment, {"expert": drawn, "random": drawn})


def test_prices():
    row = mean_estimate("x", np.full(7, 0.1), "return", "How.")
    assert (row.value, row.low, row.high) == (pytest.approx(0.1), None, None)
    assert row.how == "How. All 7 values are alike: no interval."
    ratio = ratio_estimate("x", np.full(7, 0.3), np.full(7, 0.7), "share", "How.")
    assert (ratio.value, ratio.low) == (pytest.approx(3 / 7), None)
    assert mean_estimate("x", np.array([0.1, 0.1, 0.2]), "return", "How.").low is not None
    assert jackknife_interval(np.ones(9, dtype=int), np.zeros(9, dtype=int)) is None


def test_runs_of_several_seeds():
    same, other = np.full((3, 2), 0.8), np.array([[0.1, 0.2], [0.3, 0.2], [0.9, 0.8]])
    assert all(estimate.low is None for estimate in aggregates(same, repetitions=20).values())
    assert improvement(same, same - 0.1, repetitions=20).low is None
    assert improvement(same, other, repetitions=20).low is not None
    (note, few) = interval_warnings(
        [Section("game", {"scripted": same, "students": other, "more": other[:2]}, {})]
    )
    assert note == "game: scripted: all runs have the same score, which gives no interval"
    assert few.startswith("game: intervals of 2 runs")
