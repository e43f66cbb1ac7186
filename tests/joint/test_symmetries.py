"""Turned and mirrored, a transition of the particle world is one of its transitions."""

import dataclasses

import numpy as np
import pytest
import torch as th
from gymnasium import spaces

from cesma_sb3.algorithms import ExpectedDDPG, FactoredDQN, GumbelSoftmaxDDPG, RecurrentFactoredDQN
from cesma_sb3.algorithms.symmetric_samples import SymmetricSamples
from cesma_sb3.envs.joint_vec_env import joint_vec_env
from cesma_sb3.envs.particle import ParticleVecEnv, Spread, make_scenario
from cesma_sb3.errors import ExpertError, LayoutError
from cesma_sb3.spaces.layout import ActionPart, AgentLayout, ObservationLayout, Part
from cesma_sb3.spaces.symmetries import plane_symmetries
from cesma_sb3.spaces.team_spaces import TeamSpaces
from cesma_sb3.spaces.team_views import message_free_view
from tests.envs_for_tests import MatchingGame

SCENARIOS = {
    "spread": {"n_agents": 3},
    "heterogeneous": {"n_agents": 3, "heterogeneous": True},
    "mpe2's reward": {"n_agents": 2, "reward": "mpe2"},
    "speaker-listener": {},
    "navigation-comm": {"n_agents": 3, "n_landmarks": 5},
}


def scenario_of(name):
    return make_scenario(
        name if name in {"speaker-listener", "navigation-comm"} else "spread", **SCENARIOS[name]
    )


@pytest.mark.parametrize("name", SCENARIOS)
def test_a_changed_transition_is_a_transition(name):
    scenario, rng = scenario_of(name), np.random.default_rng(0)
    team = scenario.team()
    entries, signs, categories = plane_symmetries(team)
    world, other = scenario.new_world(50), scenario.new_world(50)
    scenario.reset(world, rng, np.arange(50))
    world.place(np.arange(50), rng.uniform(-0.4, 0.4, world.positions.shape))  # crowded: agents collide
    squares = [
        np.array([[x, 0], [0, y]])[:, :: -1 if swap else 1]
        for swap in (0, 1)
        for x in (1, -1)
        for y in (1, -1)
    ]
    for which, square in enumerate(squares):
        state = world.get_state()
        for key in ("positions", "velocities", "landmarks"):
            state[key] = state[key] @ square.T
        other.set_state(state)
        for _ in range(3):
            actions = np.stack([rng.integers(k, size=50) for k in team.column_categories], axis=1)
            turned = categories[which][np.arange(team.n_columns), actions]
            world.step(*scenario.controls.apply(actions))
            other.step(*scenario.controls.apply(turned))
            expected = scenario.observe(world)[:, entries[which]] * signs[which]
            np.testing.assert_allclose(scenario.observe(other), expected, atol=1e-5)
            np.testing.assert_allclose(scenario.rewards(other), scenario.rewards(world), atol=1e-6)


@pytest.mark.parametrize("name", SCENARIOS)
def test_they_are_eight_and_the_first_changes_nothing(name):
    team = scenario_of(name).team()
    entries, signs, categories = plane_symmetries(team)
    assert (entries[0] == np.arange(team.observation_size)).all()
    assert (signs[0] == 1).all()
    together = {(*entries[g], *signs[g], *categories[g].ravel()) for g in range(8)}
    assert len(together) == 8


@pytest.mark.parametrize("name", ["navigation-comm", "speaker-listener"])
def test_the_message_free_view_keeps_them(name):
    """In which who can only talk has one action, that no layout names."""
    view = message_free_view(make_scenario(name, **SCENARIOS[name]).team()).team
    entries, _, categories = plane_symmetries(view)
    assert entries.shape == (8, view.observation_size)
    assert categories.shape == (8, view.n_columns, 5)


def test_layouts_that_declare_none_are_refused():
    for team in (TeamSpaces.from_parallel_env(MatchingGame()), Spread(2, continuous_actions=True).team()):
        with pytest.raises(LayoutError, match="symmetries: expected layouts that name the `directions`"):
            plane_symmetries(team)
    with pytest.raises(LayoutError, match="expected pairs of a planar part"):
        Part("x", "own", size=3, is_planar=True)


CROSS = ((1, 0), (-1, 0), (0, 1), (0, -1))


def mover(action_space, *action):
    """An agent that sees where it is in the plane, and does what its layout says, or says nothing of."""
    seen = spaces.Box(-1.0, 1.0, (2,), np.float32)
    layout = AgentLayout(ObservationLayout((Part("place", "own", size=2, is_planar=True),)), action)
    return TeamSpaces(["mover"], {"mover": seen}, {"mover": action_space}, {"mover": layout})


def with_second(team, action_space, *action):
    """The team with one more agent."""
    second = mover(action_space, *action)
    both = ["mover", "second"]
    return TeamSpaces(
        both,
        dict.fromkeys(both, team.observation_spaces["mover"]),
        {"mover": team.action_spaces["mover"], "second": action_space},
        {"mover": team.layouts["mover"], "second": second.layouts["mover"]},
    )


def moves(directions, column=0):
    return ActionPart("move", "move", column, directions)


@pytest.mark.parametrize(
    ("action_space", "action"),
    [
        (spaces.Box(-1.0, 1.0, (1,)), [ActionPart("says", "message")]),
        (spaces.Box(-1.0, 1.0, (4,)), [moves(CROSS, column) for column in range(4)]),
    ],
    ids=["a message", "moves"],
)
def test_a_number_is_not_taken_for_a_category(action_space, action):
    """Of a team in which others have directions, so that there is something to turn."""
    action = [dataclasses.replace(part, name=f"{part.name} {part.column}") for part in action]
    team = with_second(mover(spaces.Discrete(4), moves(CROSS)), action_space, *action)
    with pytest.raises(LayoutError, match=r"^symmetries: expected a team whose actions are categories"):
        plane_symmetries(team)
    message_free = with_second(
        mover(spaces.Discrete(4), moves(CROSS)), spaces.Discrete(3), ActionPart("says", "message")
    )
    assert plane_symmetries(message_free).categories.shape == (8, 2, 4)


@pytest.mark.parametrize(
    "team",
    [
        mover(spaces.MultiDiscrete([4, 4]), moves(CROSS)),
        with_second(mover(spaces.Discrete(4), moves(CROSS)), spaces.Discrete(4)),
        TeamSpaces(
            ["blind"],
            {"blind": spaces.Box(0.0, 1.0, (2,))},
            {"blind": spaces.Discrete(4)},
            {"blind": AgentLayout(ObservationLayout((Part("seen", "own", size=2),)), (moves(CROSS),))},
        ),
    ],
    ids=["a column", "an agent", "what is seen"],
)
def test_what_a_layout_leaves_out_may_be_turned_too(team):
    with pytest.raises(LayoutError, match="symmetries: expected layouts that name the `directions`"):
        plane_symmetries(team)


@pytest.mark.parametrize("n", [3, 5])
@pytest.mark.parametrize("others", [2, 9])
def test_every_category_has_a_direction(n, others):
    """Also where another column has more categories, in whose place they could stand."""
    team = with_second(
        mover(spaces.Discrete(n), moves(CROSS)), spaces.Discrete(others), ActionPart("says", "message")
    )
    with pytest.raises(LayoutError, match=rf"'move': expected a direction \(x, y\) of each of its {n} "):
        plane_symmetries(team)


@pytest.mark.parametrize(
    ("directions", "told"),
    [
        (((0, 0), (1, 0), (0, 1)), "its directions are not those of a square"),
        ((*CROSS, (1, 0)), "its directions are not those of a square"),
        ((*CROSS, (0, 0, 0)), r"expected a direction \(x, y\) of each of its 5 categories"),
        ((*CROSS, (0,)), r"expected a direction \(x, y\) of each of its 5 categories"),
    ],
)
def test_directions_that_have_no_counterpart_are_refused(directions, told):
    with pytest.raises(LayoutError, match=told):
        plane_symmetries(mover(spaces.Discrete(len(directions)), moves(directions)))


def test_categories_of_one_direction_keep_their_order():
    """Such as to stay, and to pick something up; or to walk, and to run."""
    directions = ((0, 0), *CROSS, (0, 0), *CROSS)
    categories = plane_symmetries(mover(spaces.Discrete(10), moves(directions))).categories[:, 0]
    assert (categories[:, [0, 5]] == [0, 5]).all()
    np.testing.assert_array_equal(categories[:, 1:5] + 5, categories[:, 6:])
    assert {tuple(each) for each in categories} >= {tuple(range(10))}
    assert (np.sort(categories, axis=1) == np.arange(10)).all(), "nothing is lost"


def test_layouts_keep_them_in_files():
    team = Spread(2).team()
    assert TeamSpaces.from_json(team.to_json()) == team


@pytest.mark.parametrize("algorithm", [ExpectedDDPG, GumbelSoftmaxDDPG, FactoredDQN])
def test_algorithms_draw_one_for_each_transition(algorithm):
    env = ParticleVecEnv(Spread(2), 4, seed=0)
    model = algorithm(
        "MlpPolicy",
        env,
        learning_starts=20,
        buffer_size=200,
        use_symmetries=True,
        policy_kwargs={"team": env.team},
        seed=0,
    ).learn(60)
    entries, signs, categories = plane_symmetries(env.team)
    plain = model.replay_buffer.sample(64)
    changed = model._symmetric(plain)
    assert th.equal(plain.rewards, changed.rewards)
    found = set()
    for row in range(64):
        alike = [
            g
            for g in range(8)
            if np.array_equal(
                plain.observations[row].numpy()[entries[g]] * signs[g], changed.observations[row]
            )
        ]
        found |= set(alike)
        (g,) = alike
        moved = categories[g][np.arange(2), plain.actions[row].numpy().astype(int)]
        assert (moved == changed.actions[row].numpy()).all()
        after = plain.next_observations[row].numpy()[entries[g]] * signs[g]
        np.testing.assert_array_equal(after, changed.next_observations[row])
    assert found == set(range(8))


def test_joint_actions_by_number_are_changed_as_their_parts_are():
    env = ParticleVecEnv(Spread(2), 4, view="product", seed=0)
    arguments = {"use_symmetries": True, "buffer_size": 10, "policy_kwargs": {"team": env.team}}
    symmetric = FactoredDQN("MlpPolicy", env, **arguments)._symmetric
    packed = np.random.default_rng(0).integers(5, size=(40, 2))
    which = th.arange(40) % 8
    numbers = symmetric.actions(th.as_tensor(env.view.encode(packed)).unsqueeze(1), which)
    parts = SymmetricSamples(env.team, th.device("cpu")).actions(th.as_tensor(packed), which)
    np.testing.assert_array_equal(env.view.decode(numbers.numpy()), parts.numpy())


def test_saved_and_loaded_it_still_uses_them(tmp_path):
    env = ParticleVecEnv(Spread(2), 2, seed=0)
    model = ExpectedDDPG(
        "MlpPolicy", env, buffer_size=50, use_symmetries=True, policy_kwargs={"team": env.team}
    )
    model.save(tmp_path / "model.zip")
    assert ExpectedDDPG.load(tmp_path / "model.zip")._symmetric is not None


def test_teams_and_algorithms_without_them_refuse():
    venv = joint_vec_env(MatchingGame, 1, seed=0)
    arguments = {"buffer_size": 10, "use_symmetries": True}
    with pytest.raises(LayoutError, match="symmetries"):
        ExpectedDDPG("MlpPolicy", venv, policy_kwargs={"team": venv.team}, **arguments)
    env = ParticleVecEnv(Spread(2), 1, seed=0)
    policy = {"team": env.team, "network": "recurrent", "hidden_sizes": (8,)}
    with pytest.raises(ExpertError, match="use_symmetries: expected FactoredDQN"):
        RecurrentFactoredDQN("MlpPolicy", env, policy_kwargs=policy, **arguments)
