"""Estimators of the price of decentralization, where what they estimate is known."""

import math

import numpy as np
import pytest
import torch as th
from scipy import stats

from cesma_sb3.analysis.price.estimates import mean_estimate, ratio_estimate
from cesma_sb3.analysis.price.localization import find_regions, named_features
from cesma_sb3.analysis.price.losses import StepLoss, disagreements
from cesma_sb3.analysis.price.mutual_information import (
    entropy,
    jackknife_interval,
    mutual_information,
    permutation_test,
)
from cesma_sb3.analysis.price.rollouts import Rollouts
from cesma_sb3.config.registry import load_experiment
from cesma_sb3.config.schema import DaggerConfig
from cesma_sb3.envs import make_vec_env
from cesma_sb3.policies import TeamPolicy
from cesma_sb3.spaces.team_spaces import TeamSpaces
from cesma_sb3.training.models import make_students
from tests.price.hidden_goal import HiddenGoal


def rollouts_of(team, lengths, *, seed=0, **more):
    """Episodes of these lengths, with random observations, labels and actions."""
    rng = np.random.default_rng(seed)
    times = np.concatenate([np.arange(length) for length in lengths])
    steps = len(times)
    packed = [
        np.stack([rng.integers(n, size=steps) for n in team.column_categories], axis=1) for _ in range(2)
    ]
    order = rng.permutation(steps)  # as where episodes end at different times
    fields = {
        "observations": rng.normal(size=(steps, team.observation_size)).astype(np.float32),
        "labels": packed[0],
        "actions": packed[1],
        "alive": np.ones((steps, team.n_agents), dtype=bool),
        "masks": None,
        "episodes": np.repeat(np.arange(len(lengths)), lengths)[order],
        "times": times[order],
    }
    return Rollouts(**{**fields, **more})


def students(team, **more):
    th.manual_seed(0)
    return TeamPolicy(team.observation_space, team.action_space, lambda _: 1e-3, team=team, **more)


def share_that_holds(truth, estimate, n=400):
    rng = np.random.default_rng(7)
    ends = [estimate(rng) for _ in range(n)]
    return np.mean([low <= truth <= high for low, high in ends])


@pytest.mark.parametrize("n", [2, 4, 8])
def test_a_perfect_code_tells_all_and_a_random_one_nothing(n):
    rng = np.random.default_rng(0)
    goals = rng.integers(n, size=4000)
    assert entropy(goals) == pytest.approx(math.log2(n), abs=0.01)
    assert mutual_information(goals, (goals + 1) % n) == pytest.approx(math.log2(n), abs=0.01)
    noise = rng.integers(n, size=4000)
    assert mutual_information(goals, noise) == pytest.approx(0.0, abs=0.01)
    chance, p = permutation_test(goals, noise, rng)
    assert chance == pytest.approx(0.0, abs=0.01)
    assert p > 0.02
    assert permutation_test(goals, goals, rng)[1] == pytest.approx(1 / 201)


def test_a_noisy_code_tells_what_shannon_says():
    rng = np.random.default_rng(1)
    goals = rng.integers(2, size=40_000)
    said = np.where(rng.random(40_000) < 0.11, 1 - goals, goals)
    capacity = 1 + 0.11 * math.log2(0.11) + 0.89 * math.log2(0.89)
    assert mutual_information(goals, said) == pytest.approx(capacity, abs=0.01)


def test_intervals_are_students():
    values = np.random.default_rng(2).normal(3.0, 2.0, size=20)
    row = mean_estimate("x", np.append(values, np.nan), "return", "How.")
    low, high = stats.ttest_1samp(values, 0.0).confidence_interval()
    assert (row.value, row.low, row.high) == pytest.approx((values.mean(), low, high))
    assert mean_estimate("x", np.full(4, 2.0), "return", "How.").low is None
    assert mean_estimate("x", np.array([2.0]), "return", "How.").low is None
    assert mean_estimate("x", np.array([np.nan]), "return", "How.").value is None


def test_intervals_of_information_hold_it():
    noise = 0.11
    truth = 1 + noise * math.log2(noise) + (1 - noise) * math.log2(1 - noise)

    def estimate(rng):
        goals = rng.integers(2, size=300)
        return jackknife_interval(goals, np.where(rng.random(300) < noise, 1 - goals, goals))

    assert 0.92 < share_that_holds(truth, estimate) < 0.98
    goals = np.random.default_rng(3).integers(4, size=500)
    low, high = jackknife_interval(goals, goals)
    assert low < 2.0 <= high + 0.01
    assert jackknife_interval(goals, np.zeros_like(goals)) == (0.0, 0.0)
    assert jackknife_interval(goals[:1], goals[:1]) is None


def test_paired_intervals_hold_the_difference_and_the_ratio():
    def pairs(rng, n=40):  # what the initial state decides is the same for both
        state = rng.normal(0.0, 10.0, size=n)
        return 30.0 + state + rng.normal(size=n), 29.0 + state + rng.normal(size=n)

    def difference(rng):
        one, other = pairs(rng)
        row = mean_estimate("x", one - other, "return", "How.")
        assert row.high - row.low < 2.0  # of unpaired episodes: some 8
        return row.low, row.high

    def ratio(rng):
        one, other = pairs(rng)
        row = ratio_estimate("x", other, one, "share", "How.")
        assert row.value == pytest.approx(other.mean() / one.mean())
        return row.low, row.high

    assert 0.92 < share_that_holds(1.0, difference) < 0.98
    assert 0.92 < share_that_holds(29.0 / 30.0, ratio) < 0.98


def test_a_region_of_disagreement_is_found_and_named():
    team = TeamSpaces.from_parallel_env(HiddenGoal())
    rollouts = rollouts_of(team, [5] * 400)
    differs = rollouts.observations[:, 5] > 0.8
    fits = rollouts.episodes % 2 == 0
    worst = find_regions(rollouts, differs, team, fits=fits)[0]
    assert worst.condition.startswith("blind shown.1 > ")
    assert float(worst.condition.split()[3]) == pytest.approx(0.8, abs=0.02)
    assert differs[worst.inside & ~fits].mean() > 0.98
    assert find_regions(rollouts, np.zeros(len(differs), dtype=bool), team, fits=fits) == []
    late = find_regions(rollouts, rollouts.times == 2, team, fits=fits)[0]
    assert late.condition == "1.5 < step <= 2.5"


def test_regions_can_be_near_and_between():
    team = make_vec_env("spread", kwargs={"n_agents": 3}).team
    rollouts = rollouts_of(team, [25] * 80)
    where = team.observation_slices[1].start + team.layouts["agent_1"].observation.slice("landmarks").start
    away = np.linalg.norm(rollouts.observations[:, where : where + 6].reshape(-1, 3, 2), axis=2)
    features = named_features(rollouts, team)
    np.testing.assert_allclose(features["nearest |agent_1 landmarks|"], away.min(axis=1), rtol=1e-6)
    between = features["next but nearest |agent_1 landmarks|"]
    np.testing.assert_allclose(between, np.sort(away, axis=1)[:, 1] - away.min(axis=1), atol=1e-6)
    worst = find_regions(rollouts, between < 0.2, team, fits=rollouts.episodes % 2 == 0)[0]
    name, _, threshold = worst.condition.split(" and ")[0].rpartition(" <= ")
    assert name == "next but nearest |agent_1 landmarks|"
    assert float(threshold) == pytest.approx(0.2, abs=0.02)


def test_losses_are_those_that_were_trained():
    team = make_vec_env("spread", kwargs={"n_agents": 3}).team
    policy, plain = students(team), rollouts_of(team, [25] * 4)
    shares = np.random.default_rng(1).dirichlet(np.ones(5), size=(100, 3)).astype(np.float32)
    soft = rollouts_of(team, [25] * 4, probabilities=shares.reshape(100, 15))
    with th.no_grad():
        outputs = policy.outputs(th.as_tensor(plain.observations)).view(100, 3, 5).double()
    logs, chosen = outputs.log_softmax(dim=2).numpy(), np.eye(5)[plain.labels]
    nats = StepLoss.of(DaggerConfig(total_timesteps=1), team)
    squares = StepLoss.of(DaggerConfig(total_timesteps=1, loss="mse"), team)
    assert (nats.unit, squares.unit) == ("nats", "squares")
    np.testing.assert_allclose(nats(policy, plain), -(chosen * logs).sum(axis=2), rtol=1e-4)
    np.testing.assert_allclose(nats(policy, soft), -(shares * logs).sum(axis=2), rtol=1e-4)
    np.testing.assert_allclose(squares(policy, plain), ((np.exp(logs) - chosen) ** 2).sum(axis=2), rtol=1e-4)
    np.testing.assert_allclose(nats.least(soft, team), stats.entropy(shares, axis=2), rtol=1e-4)
    assert not nats.least(plain, team).any()
    assert not squares.least(soft, team).any()
    np.testing.assert_array_equal(disagreements(plain, team), plain.labels != plain.actions)


def test_who_is_dead_has_no_loss():
    team = make_vec_env("spread", kwargs={"n_agents": 3}).team
    alive = np.random.default_rng(2).random((50, 3)) < 0.5
    found = StepLoss.of(DaggerConfig(total_timesteps=1), team)(
        students(team), rollouts_of(team, [25] * 2, alive=alive)
    )
    np.testing.assert_array_equal(np.isfinite(found), alive)


def test_a_memory_goes_from_step_to_step_of_its_own_episode():
    team = make_vec_env("spread", kwargs={"n_agents": 3}).team
    policy = students(team, network="recurrent", hidden_sizes=[8])
    rollouts = rollouts_of(team, [7, 25, 1, 12])
    found = StepLoss.of(DaggerConfig(total_timesteps=1), team)(policy, rollouts)
    for episode in range(4):
        own = np.flatnonzero(rollouts.episodes == episode)
        own = own[np.argsort(rollouts.times[own])]
        with th.no_grad():
            outputs = policy.unroll(th.as_tensor(rollouts.observations[own])[:, None])
        logs = outputs.view(-1, 3, 5).log_softmax(dim=2).numpy()
        expected = -(np.eye(5)[rollouts.labels[own]] * logs).sum(axis=2)
        np.testing.assert_allclose(found[own], expected, rtol=1e-4)


@pytest.mark.parametrize("network", ["feed-forward", "recurrent", "entities"])
@pytest.mark.parametrize("shared", [False, True])
def test_students_that_see_everything_have_a_network_each(network, shared):
    sizes = {"recurrent": [16], "entities": [16, 16], "feed-forward": [16, 16]}[network]
    values = {"network": network, "hidden_sizes": sizes, "share_parameters": shared}
    experiment = load_experiment("spread-3-scripted", {"students": values})
    team = make_vec_env("spread", kwargs={"n_agents": 3}).team
    own, seeing = (
        make_students(experiment.students, team, th.device("cpu"), sees) for sees in ("own", "joint")
    )
    count = [sum(weights.numel() for weights in each.action_net.parameters()) for each in (own, seeing)]
    assert count[0] <= count[1]
    observations = th.randn(4, team.observation_size)
    other = observations.clone()
    other[:, team.observation_slices[2]] += 1.0
    with th.no_grad():
        differs = [
            (each.outputs(observations) != each.outputs(other)).view(4, 3, 5) for each in (own, seeing)
        ]
    assert not differs[0][:, :2].any()
    assert differs[1].flatten(2).any(dim=2).all()


def test_episodes_begin_where_they_begin():
    team = TeamSpaces.from_parallel_env(HiddenGoal())
    rollouts = rollouts_of(team, [3, 1, 5])
    for episode, first in enumerate(rollouts.first_observations()):
        there = (rollouts.episodes == episode) & (rollouts.times == 0)
        np.testing.assert_array_equal(rollouts.observations[there], first[None])
    assert rollouts.lengths.tolist() == [3, 1, 5]
