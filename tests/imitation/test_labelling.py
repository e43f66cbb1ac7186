"""Labels of recorded experience are what the expert says itself, episode by episode, message by message."""

import re

import numpy as np
import pytest
import torch as th
from sb3_contrib import RecurrentPPO

from cesma_sb3.envs.experience import Experience
from cesma_sb3.errors import ExpertError, InvalidActionError, SpaceError
from cesma_sb3.experts import ScriptedGoalExpert, adapt_expert, make_actor
from cesma_sb3.imitation import LabelConfig, labelling
from cesma_sb3.imitation.collector import Collector
from cesma_sb3.imitation.labelling import random_messages
from cesma_sb3.spaces.communication import MessageChannel
from cesma_sb3.spaces.team_views import message_free_view
from tests.envs_for_tests import FaultyExpert, MatchingGame, MortalEnv, talking_team_with_masks
from tests.imitation.experience_for_tests import (
    HARD,
    Still,
    flat,
    game,
    labeller_of,
    of_silent,
    sampling,
    talking,
    trainer_of,
)
from tests.imitation.test_recurrent import Recall, Recaller
from tests.imitation.test_trainer import CueExpert, FirstAvailable
from tests.recorded import recorded, shown


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
    """So that even little is labelled in several blocks."""
    monkeypatch.setattr(labelling, "BLOCK", 20)


def labelled(experience, expert, labels=HARD, **kwargs):
    """All samples one after the other, by the name of a field."""
    blocks = [each._asdict() for each in labeller_of(experience, expert, labels, **kwargs).samples()]
    assert len(blocks) > 1
    assert len({tuple(name for name, field in each.items() if field is None) for each in blocks}) == 1
    return {
        name: np.concatenate([each[name] for each in blocks])
        for name, field in blocks[0].items()
        if field is not None
    }


@pytest.mark.parametrize("labels", [HARD, LabelConfig(soft=True, temperature=2.0)])
def test_labels_are_the_experts_own(labels):
    venv, expert = game(MatchingGame), CueExpert()
    experience = recorded(venv, 13)
    states, found = experience.states(), labelled(experience, expert, labels)
    np.testing.assert_array_equal(found["observations"], flat(states.observations))
    np.testing.assert_array_equal(found["alive"], flat(states.alive))
    by_step = [expert.labels(step) for step in states.observations]
    np.testing.assert_array_equal(found["labels"], np.concatenate(by_step))
    assert found["labels"].dtype == np.int64
    if labels.soft:
        soft = [expert.probabilities(step, temperature=2.0) for step in states.observations]
        np.testing.assert_allclose(found["probabilities"], np.concatenate(soft), atol=1e-6)
    assert found.keys() == {"observations", "labels", "alive"} | ({"probabilities"} if labels.soft else set())


def test_whatever_can_be_an_expert_labels():
    """As in a trainer: a function, say; and labels that it does not have are refused at once."""
    venv = game(MatchingGame)
    experience = recorded(venv, 13)

    def cues(observations):
        return CueExpert().labels(observations)

    found, expected = (labelled(experience, expert)["labels"] for expert in (cues, CueExpert()))
    np.testing.assert_array_equal(found, expected)
    with pytest.raises(ExpertError, match=r"^FunctionExpert: has no `probabilities`: expected hard labels$"):
        labeller_of(experience, cues, LabelConfig(soft=True))
    with pytest.raises(ExpertError, match="expected an SB3 model or policy, a function of joint"):
        labeller_of(experience, 3)


def test_states_with_labels_are_not_asked_about():
    venv = game(MatchingGame, n_envs=2)
    states = recorded(venv, 18).states()
    labels = np.random.default_rng(0).integers(3, size=(18, 2, 2))
    experience = Experience(venv.team, 2, capacity=30)
    experience.extend(states._replace(labels=labels))
    found = labelled(experience, Still(venv.team))
    np.testing.assert_array_equal(found["labels"], flat(labels[3:]))
    with pytest.raises(SpaceError, match=r"^experience: labels of shape None, expected \(18, 2, 2\)$"):
        experience.extend(states)


@pytest.mark.parametrize("number", [np.nan, np.inf])
def test_states_that_are_no_numbers_are_not_labelled(number):
    """No expert would say so, and the students' weights would be no numbers either."""
    venv = game(MatchingGame)
    experience = recorded(venv, 13)
    experience.rows.arrays["observations"][9, 2, 1] = number
    told = r"^experience: observations that are no finite numbers in environment 2, recorded step 9$"
    with pytest.raises(SpaceError, match=told):
        labelled(experience, CueExpert())


def test_labels_keep_to_masks():
    venv = game(MortalEnv, team_reward="sum")
    experience = recorded(venv, 13)
    states = experience.states()
    found = labelled(experience, FirstAvailable(venv.team))
    np.testing.assert_array_equal(found["masks"], flat(states.masks))
    by_step = [
        FirstAvailable(venv.team).labels(*step)
        for step in zip(states.observations, states.masks, strict=True)
    ]
    np.testing.assert_array_equal(found["labels"], np.concatenate(by_step))
    assert not found["alive"].all()


class AlwaysTheFirst:
    def labels(self, observations, masks=None):
        return np.zeros((len(observations), 3), dtype=np.int64)


class Forgiving(MortalEnv):
    """Does the first available action in place of one that is not."""

    unavailable = "replace"

    def step(self, actions):
        done = {
            a: action if self.mask(a)[action] else int(self.mask(a).argmax()) for a, action in actions.items()
        }
        return super().step(done)


def test_an_unavailable_label_becomes_what_the_environment_does_instead():
    venv = game(Forgiving, team_reward="sum")
    assert venv.replaces_unavailable
    experience = recorded(venv, 10)
    trainer = trainer_of(venv, AlwaysTheFirst())
    trainer.add_experience(experience)
    rows = trainer.dataset.rows.arrays
    masks, labels, alive = (rows[name][: len(experience)] for name in ("masks", "labels", "alive"))
    first = np.stack([masks[:, where].argmax(axis=1) for where in venv.team.column_masks], axis=1)
    np.testing.assert_array_equal(labels[alive], first[alive])
    assert labels.any()
    # So does DAgger in the same states.
    collector = Collector(
        venv,
        lambda observations, masks: np.stack(
            [masks[:, w].argmax(axis=1) for w in venv.team.column_masks], axis=1
        ),
        AlwaysTheFirst(),
        beta=lambda _: 0.0,
        beta_per_agent=False,
        labels=HARD,
        rng=np.random.default_rng(0),
    )
    collected = collector.step(0)[0]
    np.testing.assert_array_equal(collected.labels, labels[: venv.num_envs])
    refused = game(MortalEnv, team_reward="sum")
    told = (
        r"^AlwaysTheFirst\.labels: 0 for mortal_0 in environment 0, recorded step 0: not available; "
        r"what is: 1, 2$"
    )
    with pytest.raises(InvalidActionError, match=told):
        trainer_of(refused, AlwaysTheFirst()).add_experience(recorded(refused, 3))


@pytest.mark.parametrize(
    ("fault", "told"),
    [
        ("nan", "nan for player_1 in environment 0, recorded step 6: expected 0 to 2"),
        ("range", r"\d for player_1 in environment 0, recorded step 6: expected 0 to 2"),
        ("shape", r"shape \(18, 1\), expected \(18, 2\)"),
    ],
)
def test_a_bad_label_is_one_line(fault, told):
    venv = game(MatchingGame)
    trainer = trainer_of(venv, FaultyExpert(fault, after=2))  # two blocks of 3 steps are right
    with pytest.raises(InvalidActionError) as caught:
        trainer.add_experience(recorded(venv, 12))
    assert re.fullmatch(rf"FaultyExpert\.labels: {told}", str(caught.value))


def test_a_bad_label_of_what_is_unavailable_is_one_line():
    venv = game(MortalEnv, team_reward="sum")
    with pytest.raises(InvalidActionError) as caught:
        trainer_of(venv, FaultyExpert("unavailable")).add_experience(recorded(venv, 4))
    told = "FaultyExpert.labels: 1 for mortal_1 in environment 0, recorded step 0: not available; what is: "
    assert str(caught.value) == told + "0, 2, 3"


def recurrent_ppo(venv):
    model = RecurrentPPO("MlpLstmPolicy", venv, n_steps=16, batch_size=64, seed=0)
    with th.no_grad():  # of untrained weights the likeliest action would be the same everywhere
        for weights in model.policy.parameters():
            weights.mul_(4.0)
    return model


@pytest.mark.parametrize("kind", [lambda venv: Recaller(), recurrent_ppo], ids=["a class", "RecurrentPPO"])
@pytest.mark.parametrize("kept", [24, 13])
def test_labels_of_an_expert_with_a_memory_are_what_it_says_along_the_episodes(kind, kept):
    venv = game(Recall)
    expert = adapt_expert(kind(venv), venv.team)
    act, said = make_actor(expert), []
    experience = recorded(venv, 24, capacity=kept * venv.num_envs, resets=(0, 15))
    twin = shown(game(Recall), 24, resets=(0, 15))
    for observations, starts in zip(twin.observations, twin.starts, strict=True):
        act.reset(starts)
        said.append(act(observations, None))
    said, starts = np.stack(said)[-kept:], twin.starts[-kept:]
    known = np.logical_or.accumulate(starts)  # of the others nobody knows what came before
    assert known.all() == (kept == 24)
    found = labelled(experience, expert)
    np.testing.assert_array_equal(found["observations"], twin.observations[-kept:][known])
    np.testing.assert_array_equal(found["labels"], said[known])
    at_first = np.concatenate([expert.labels(step) for step in twin.observations[-kept:]])
    assert not np.array_equal(flat(said), at_first), "it remembers"
    episodes = list(labeller_of(experience, expert).episodes())
    assert len(episodes) == len(experience.episodes()) > 5
    for (env, steps), samples in zip(experience.episodes(), episodes, strict=True):
        np.testing.assert_array_equal(samples.observations, twin.observations[-kept:][steps, env])
        np.testing.assert_array_equal(samples.labels, said[steps, env])


def test_labels_of_an_expert_that_samples_are_draws():
    venv = game(MatchingGame, n_envs=20)
    experience = recorded(venv, 101)
    expert = sampling(venv)

    def draws(seed):
        rng = None if seed is None else np.random.default_rng(seed)
        return labelled(experience, expert, label_rng=rng)

    found = draws(5)
    for same, other in ((5, 6), (None, 5)):
        np.testing.assert_array_equal(draws(same)["labels"], draws(same)["labels"])
        assert not np.array_equal(draws(same)["labels"], draws(other)["labels"])
    cues = found["observations"].reshape(-1, 2, 3).argmax(axis=2)
    assert (found["labels"] == cues).mean() == pytest.approx(0.5, abs=0.03)
    soft = labelled(experience, expert, LabelConfig(soft=True))
    np.testing.assert_allclose(
        soft["probabilities"].reshape(-1, 3), (0.25 + 0.25 * found["observations"]).reshape(-1, 3), atol=1e-6
    )


def test_draws_for_experience_leave_those_of_dagger_as_they_are():
    """A trainer's expert draws its labels by a generator of its own, whatever was labelled before."""

    def label_after(n_steps):
        venv = game(MatchingGame)
        expert = sampling(venv)
        trainer = trainer_of(venv, expert)
        if n_steps:
            trainer.add_experience(recorded(venv, n_steps))
            venv.seed(0)
        return trainer.collector.step(0)[0]

    fresh, later = label_after(0), label_after(9)
    np.testing.assert_array_equal(fresh.observations, later.observations)
    np.testing.assert_array_equal(fresh.labels, later.labels)


TALKING = [
    "signals",
    "masks",
    "speaker-listener",
    "speaker-listener, continuous",
    "navigation-comm",
    "navigation-comm, 3",
    "navigation-comm, continuous",
]


@pytest.mark.parametrize("name", TALKING)
@pytest.mark.parametrize("kept", [40, 17])
def test_a_sample_of_a_team_that_talks_holds_the_step_before(name, kept):
    venv = talking(name)
    team, channel = venv.team, MessageChannel.of(venv.team)
    experience = of_silent(venv, 40, capacity=kept * 6)
    states = experience.states()
    found = labelled(experience, Still(team))
    known = np.logical_or.accumulate(states.starts)
    assert known.all() == (kept == 40)
    np.testing.assert_array_equal(found["observations"], states.observations[known])
    before = np.concatenate([np.full_like(states.observations[:1], np.nan), states.observations[:-1]])
    starts = states.starts[known]
    follows = found["follows"]
    assert not follows[starts].any()
    assert follows[~starts].all()
    previous, expected = found["previous"][~starts], before[known][~starts]
    physical = np.delete(np.arange(team.observation_size), channel.places)
    np.testing.assert_array_equal(previous[:, physical], expected[:, physical])
    heard = previous[:, channel.places]
    # Nobody had heard anything in an episode's first step; later, what is heard is drawn.
    is_second = np.concatenate([states.starts[:1], states.starts[:-1]])[known][~starts]
    np.testing.assert_array_equal(heard[is_second], expected[is_second][:, channel.places])
    drawn = heard[~is_second]
    assert len(drawn) >= 30
    assert not np.array_equal(drawn, expected[~is_second][:, channel.places])
    for sender in np.unique(channel.senders):
        for receiver in np.unique(channel.receivers[channel.senders == sender]):
            words = drawn[:, (channel.senders == sender) & (channel.receivers == receiver)]
            of = channel.columns[channel.senders == sender]
            if team.is_continuous:
                low, high = team.action_space.low[np.unique(of)], team.action_space.high[np.unique(of)]
                assert (words >= low).all()
                assert (words <= high).all()
                assert (np.ptp(words, axis=0) > 0.7 * (high - low)).all()
            else:
                np.testing.assert_array_equal(words.sum(axis=1), 1)
                assert set(np.unique(words)) == {0, 1}
                assert len(np.unique(words, axis=0)) > 2
    if team.has_masks:
        earlier = np.concatenate([states.masks[:1], states.masks[:-1]])[known][~starts]
        np.testing.assert_array_equal(found["previous_masks"][~starts], earlier)


def test_all_receivers_hear_the_same_word_of_a_sender():
    venv = talking("navigation-comm, 3")
    channel = MessageChannel.of(venv.team)
    found = labelled(of_silent(venv, 20), Still(venv.team))
    heard = found["previous"][:, channel.places]
    for sender in range(3):
        first, second = (
            heard[:, (channel.senders == sender) & (channel.receivers == receiver)]
            for receiver in range(3)
            if receiver != sender
        )
        np.testing.assert_array_equal(first, second)


def test_random_messages_are_uniform_and_the_rest_is_rest():
    team = talking_team_with_masks()
    packed = random_messages(team, (3, 4000), np.random.default_rng(0))
    assert packed.shape == (3, 4000, 3)
    assert packed.dtype == team.action_dtype
    assert not packed[..., 1:].any()
    counts = np.bincount(packed[..., 0].reshape(-1), minlength=4)
    assert counts / counts.sum() == pytest.approx([0.25] * 4, abs=0.02)


def test_what_experts_are_told_has_no_messages():
    """The labels of an expert without messages do not depend on what was said while it trained."""
    venv = talking("navigation-comm")
    expert = ScriptedGoalExpert(venv.team, venv.scenario.agents)
    states = of_silent(venv, 12).states()
    changed = states.observations.copy()
    changed[..., MessageChannel.of(venv.team).places] = 0.5
    np.testing.assert_array_equal(expert.labels(flat(states.observations)), expert.labels(flat(changed)))
    view = message_free_view(venv.team)
    np.testing.assert_array_equal(view.observations(states.observations), view.observations(changed))


def test_transitions_are_what_is_known_of_an_expert_with_a_memory():
    venv = game(Recall)
    experience = recorded(venv, 24, capacity=13 * 6)
    labeller = labeller_of(experience, Recaller())
    samples = [
        np.concatenate(each)
        for each in zip(*((s.observations, s.labels) for s in labeller.samples()), strict=True)
    ]
    transitions = labeller.transitions()
    np.testing.assert_array_equal(transitions.obs, samples[0])
    np.testing.assert_array_equal(transitions.acts, samples[1])
    assert len(transitions) < len(experience)
