"""Recorded experience is what the environments showed, whatever acts in them and whatever is around them."""

from functools import partial

import numpy as np
import pytest
from gymnasium import spaces

from cesma_sb3.envs.experience import Experience, RecordedVecEnv, experience_bytes
from cesma_sb3.envs.joint_vec_env import joint_vec_env
from cesma_sb3.envs.particle import ParticleVecEnv, make_scenario
from cesma_sb3.errors import SpaceError
from cesma_sb3.imitation.information_cost import InformationCostVecEnv
from cesma_sb3.policies.networks.factory import NetworkSpec
from cesma_sb3.training import state as state_module
from tests.envs_for_tests import MatchingGame, MixedEnv, MortalEnv, TalkAndMove
from tests.message_free import message_free
from tests.recorded import shown

N_ENVS = 3


class Patchy(MortalEnv):
    """Agents die, and episodes take from two steps to five."""

    def begin(self):
        self.length = int(self.rng.integers(2, 6))


class Cards(MatchingGame):
    """What is seen are whole numbers, which are kept as bytes."""

    def observation_space(self, agent):
        return spaces.MultiDiscrete([self.n_cues, 9])

    def observe(self, agent):
        return np.array([self.cues[agent], self.t])


def particles(name="spread", view="joint", **kwargs):
    return ParticleVecEnv(make_scenario(name, max_cycles=4, **kwargs), N_ENVS, seed=3, view=view)


def games(env, view="joint", **kwargs):
    return joint_vec_env(env, N_ENVS, seed=3, view=view, team_reward="sum", **kwargs)


ENVIRONMENTS = {
    "particles": particles,
    "particles one at a time": partial(particles, view="one-at-a-time"),
    "particles as one choice": partial(particles, view="product"),
    "particles as numbers": partial(particles, view="relaxed"),
    "messages": partial(particles, "navigation-comm"),
    "continuous": partial(particles, continuous_actions=True),
    "deaths": partial(games, Patchy),
    "deaths in processes": partial(games, Patchy, processes=2),
    "deaths one at a time": partial(games, Patchy, view="one-at-a-time"),
    "deaths as one choice": partial(games, Patchy, view="product"),
    "deaths as numbers": partial(games, Patchy, view="relaxed"),
    "masks in infos": partial(games, partial(Patchy, masks="info")),
    "no masks": partial(games, partial(Patchy, masks=None)),
    "every kind of space": partial(games, MixedEnv),
    "whole numbers": partial(games, Cards),
    "messages and masks": partial(games, TalkAndMove),
}


def watched(make, capacity=1000):
    venv = make()
    return RecordedVecEnv(venv, Experience(venv.team, N_ENVS, capacity))


def assert_same(states, expected, last=None):
    """States are those expected, of whose last steps alone if so many are given."""
    for found, wanted in zip(states, expected, strict=True):
        np.testing.assert_array_equal(found, wanted if wanted is None or last is None else wanted[-last:])
    assert states.observations.dtype == np.float32
    assert states.starts.dtype == states.alive.dtype == bool


@pytest.mark.parametrize("kind", ENVIRONMENTS)
def test_it_is_what_an_environment_shows_that_nobody_records(kind):
    make, resets = ENVIRONMENTS[kind], (0, 9)
    venv = watched(make)
    trace = shown(venv, 14, resets)
    venv.close()
    twin = make()
    of_twin = shown(twin, 14, resets)
    twin.close()
    for one, other in zip(trace, of_twin, strict=True):
        np.testing.assert_array_equal(one, other)
    experience = venv.experience
    states = experience.states()
    assert_same(states, of_twin)
    assert len(experience) == 14 * N_ENVS
    assert states.starts[[0, 9]].all()
    assert states.starts[1:9].any()
    assert (states.masks is None) is not venv.team.has_masks
    if "deaths" in kind:
        assert not states.alive.all()
        assert len({steps.stop - steps.start for _, steps in experience.episodes()}) > 1
    if kind == "whole numbers":
        assert experience.rows.arrays["observations"].dtype == np.uint8


def test_whoever_gets_states_may_change_them():
    venv = watched(ENVIRONMENTS["deaths"])
    trace = shown(venv, 6)
    for array in venv.experience.states()[:-1]:  # no labels
        array[...] = 0
    assert_same(venv.experience.states(), trace)


@pytest.mark.parametrize("name", ["speaker-listener", "navigation-comm"])
def test_around_an_environment_without_messages_or_inside(name):
    full, silent = particles(name), message_free(particles(name), view="product")
    inside = Experience(full.team, N_ENVS, 1000)
    around = Experience(silent.team, N_ENVS, 1000)
    venv = RecordedVecEnv(message_free(RecordedVecEnv(full, inside), view="product"), around)
    trace = shown(venv, 11)
    assert_same(around.states(), trace)
    assert_same(around.states(), shown(silent, 11))
    assert inside.team == full.team
    states = inside.states()
    np.testing.assert_array_equal(venv.venv.team_view.observations(states.observations), trace[0])
    np.testing.assert_array_equal(states.starts, trace[2])
    # Everybody says category 0, which is heard one step later.
    heard = np.ones(full.team.observation_size, bool)
    heard[venv.venv.team_view._entries] = False
    assert states.starts[[0, 4, 8]].all()
    words = states.observations[:, :, heard]
    assert not words[states.starts].any()
    assert words[~states.starts].any()


@pytest.mark.parametrize("kind", ["deaths", "particles"])
def test_what_the_expert_pays_for_is_recorded_as_it_was_seen(kind):
    venv = ENVIRONMENTS[kind]()
    inside = Experience(venv.team, N_ENVS, 1000)
    spec = NetworkSpec(hidden_sizes=(8,))
    costly = InformationCostVecEnv(RecordedVecEnv(venv, inside), weight=1.0, spec=spec, batch_size=8)
    around = Experience(venv.team, N_ENVS, 1000)
    trace = shown(RecordedVecEnv(costly, around), 12)
    for experience in (inside, around):
        assert_same(experience.states(), trace)


@pytest.mark.parametrize("kind", ["deaths", "particles", "whole numbers"])
@pytest.mark.parametrize("n_kept", [1, 4, 5, 13])
def test_the_newest_are_kept_in_their_order(kind, n_kept):
    venv = watched(ENVIRONMENTS[kind], capacity=n_kept * N_ENVS + 2)  # rounded down to whole steps
    trace = shown(venv, 13)
    experience = venv.experience
    assert (experience.n_kept, len(experience), experience.n_steps) == (n_kept, n_kept * N_ENVS, 13)
    assert_same(experience.states(), trace, last=n_kept)
    blocks = list(experience.blocks(2 * N_ENVS))
    assert [len(block.starts) for block in blocks] == [2] * (n_kept // 2) + [1] * (n_kept % 2)
    assert_same(type(blocks[0])(*map(joined, zip(*blocks, strict=True))), trace, last=n_kept)
    for env in range(N_ENVS):
        alone, all_of_them = experience.states(n_kept // 2, env=env), experience.states(n_kept // 2)
        np.testing.assert_array_equal(alone.cuts, all_of_them.cuts)
        for one, other in zip(alone[:4], all_of_them[:4], strict=True):
            np.testing.assert_array_equal(one, None if other is None else other[:, env])


def joined(parts):
    return None if parts[0] is None else np.concatenate(parts)


@pytest.mark.parametrize("capacity", [1, 2, 3, 5])
def test_there_is_room_for_a_vector_step_at_least(capacity):
    venv = watched(ENVIRONMENTS["deaths"], capacity)
    assert (len(venv.experience), venv.experience.episodes()) == (0, [])
    assert list(venv.experience.blocks(100)) == []
    trace = shown(venv, 7)
    assert len(venv.experience) == N_ENVS
    assert_same(venv.experience.states(), trace, last=1)
    assert venv.experience.episodes() == []


@pytest.mark.parametrize("capacity", [1000, 11 * N_ENVS])
def test_episodes_are_whole(capacity):
    """Those that began too long ago, are under way, or were cut off by a reset, are none."""
    venv, n_steps, resets = watched(ENVIRONMENTS["deaths"], capacity), 20, (0, 8, 9)
    starts = shown(venv, n_steps, resets).starts
    oldest = n_steps - venv.experience.n_kept
    expected = []
    for env in range(N_ENVS):
        begin = None
        for step in range(oldest, n_steps):
            if starts[step, env]:
                if begin is not None and step not in resets:
                    expected.append((env, slice(begin, step - oldest)))
                begin = step - oldest
    expected.sort(key=lambda episode: (episode[1].stop, episode[0]))
    assert venv.experience.episodes() == expected
    assert len(expected) > 3
    lengths = {steps.stop - steps.start for _, steps in expected}
    assert lengths <= set(range(2, 6))


def test_an_episode_that_ended_before_a_reset_is_whole():
    """The state that nobody acted in, after the end and before the reset, is no episode of one step."""
    venv = watched(ENVIRONMENTS["particles"])  # episodes of four steps
    shown(venv, 10, resets=(0, 5))
    wanted = [(env, slice(begin, begin + 4)) for begin in (0, 5) for env in range(N_ENVS)]
    assert venv.experience.episodes() == wanted


@pytest.mark.parametrize(
    ("name", "change", "told"),
    [
        (
            "observations",
            lambda array: array[..., 1:],
            r"observations of shape \(6, 3, 5\), expected \(6, 3, 6\)",
        ),
        (
            "observations",
            lambda array: array[:-1],
            r"observations of shape \(5, 3, 6\), expected \(6, 3, 6\)",
        ),
        ("alive", lambda array: array[..., 0], r"alive of shape \(6, 3\), expected \(6, 3, 3\)"),
        ("starts", lambda array: array[:, :2], r"starts of shape \(6, 2\), expected \(6, 3\)"),
        ("masks", lambda array: None, r"masks of shape None, expected \(6, 3, 10\)"),
        ("cuts", lambda array: array[:, None], r"cuts of shape \(6, 1\), expected \(6,\)"),
    ],
)
def test_states_of_another_shape_are_refused(name, change, told):
    """Before or after others: a team's states are always of one shape."""
    venv = watched(ENVIRONMENTS["deaths"])
    trace = shown(venv, 6)
    wrong = trace._replace(**{name: change(getattr(trace, name))})
    for experience in (venv.experience, Experience(venv.team, N_ENVS, 1000)):
        with pytest.raises(SpaceError, match=rf"^experience: {told}$"):
            experience.extend(wrong)
    assert_same(venv.experience.states(), trace)


def test_masks_of_a_team_without_any_are_refused():
    experience = watched(ENVIRONMENTS["no masks"]).experience
    one = np.ones((N_ENVS, 1), dtype=bool)
    with pytest.raises(SpaceError, match=r"^experience: masks of shape \(1, 3, 10\), expected None$"):
        experience.append(
            np.ones((N_ENVS, 6), np.float32), one.repeat(3, axis=1), one[:, 0], one.repeat(10, axis=1)
        )


def test_who_is_recorded_is_who_is_meant():
    venv, other = ENVIRONMENTS["deaths"](), ENVIRONMENTS["particles"]()
    for experience in (Experience(venv.team, N_ENVS + 1, 10), Experience(other.team, N_ENVS, 10)):
        with pytest.raises(
            SpaceError, match=r"^experience: of \d environments of TeamSpaces.*; expected 3 of"
        ):
            RecordedVecEnv(venv, experience)
    with pytest.raises(ValueError, match=r"^n_envs=0: expected at least 1$"):
        Experience(venv.team, 0, 10)


def test_memory_is_what_was_said():
    for kind in ("deaths", "particles", "whole numbers", "no masks"):
        venv = watched(ENVIRONMENTS[kind], capacity=100)
        experience = venv.experience
        experience.expect(1000)  # more than there is room for
        assert experience.n_bytes == 0
        shown(venv, 1)
        n_bytes = experience.n_bytes
        assert n_bytes == experience.limit * (N_ENVS * experience_bytes(venv.team) + 1)
        shown(venv, 40)
        assert experience.n_bytes == n_bytes


@pytest.mark.parametrize("capacity", [15, 1000])
@pytest.mark.parametrize("kind", ["particles", "messages", "deaths"])
def test_it_goes_on_where_it_was_stored(kind, capacity):
    venv, anew = (watched(ENVIRONMENTS[kind], capacity) for _ in range(2))
    for each in (venv, anew):
        each.experience.expect(60)
    shown(venv, 8)
    keeps_its_place = state_module.restore(anew, *state_module.capture(venv))
    assert keeps_its_place is venv.venv.keeps_state
    assert_same(anew.experience.states(), venv.experience.states())
    # A particle world resumes in mid-episode; what lies in other libraries' objects begins anew.
    resets = () if keeps_its_place else (0,)
    traces = [shown(each, 9, resets, seed=1) for each in (venv, anew)]
    if keeps_its_place:
        assert_same(anew.experience.states(), venv.experience.states())
    assert len(anew.experience) == len(venv.experience)
    n_new = min(9, anew.experience.n_kept)
    assert_same(anew.experience.states(anew.experience.n_kept - n_new), traces[1], last=n_new)
