"""How a controller that somebody brings is called: it gets masks if it takes them, and is left as it was."""

from __future__ import annotations

import functools
import types
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch as th
from imitation.util import logger as imitation_logger
from sb3_contrib import MaskablePPO
from stable_baselines3 import DQN, PPO, TD3

from cesma_sb3.envs.joint_vec_env import joint_vec_env
from cesma_sb3.errors import ExpertError, InvalidActionError
from cesma_sb3.experts import ExpertPolicy, SoftExpert, adapt_expert
from cesma_sb3.experts.per_agent import controllers_by_agent
from cesma_sb3.experts.sb3 import SB3Expert
from cesma_sb3.imitation import MultiAgentDAggerTrainer
from cesma_sb3.policies import TeamPolicy
from cesma_sb3.spaces.action_views import make_view
from cesma_sb3.spaces.team_spaces import TeamSpaces
from tests.envs_for_tests import MatchingGame, MortalEnv, ReachEnv

MORTAL = TeamSpaces.from_parallel_env(MortalEnv())
GAME = TeamSpaces.from_parallel_env(MatchingGame())
SEEN = np.random.default_rng(0).normal(size=(5, MORTAL.observation_size)).astype(np.float32)
ONLY_LAST = np.zeros((5, MORTAL.mask_size), dtype=bool)
ONLY_LAST[:, [where.stop - 1 for where in MORTAL.column_masks]] = True
LAST = np.tile([n - 1 for n in MORTAL.column_categories], (5, 1))


def first_available(masks: np.ndarray | None) -> np.ndarray:
    """0 for all without masks."""
    if masks is None:
        return np.zeros((5, MORTAL.n_columns), dtype=np.int64)
    return np.stack([masks[:, where].argmax(axis=1) for where in MORTAL.column_masks], axis=1)


def optional(observations, masks=None):
    return first_available(masks)


def by_keyword(observations, *, action_masks=None):
    return first_available(action_masks)


def far_behind(observations, state=None, deterministic=True, available=None):
    return first_available(available)


def by_place(observations, flags, /):
    return first_available(flags)


def decorated(function):
    @functools.wraps(function)
    def wrapper(*args, **kwargs):
        return function(*args, **kwargs)

    return wrapper


def handing_on(function):
    """As `decorated`, but nobody can tell what it hands on to."""

    def wrapper(*args, **kwargs):
        return function(*args, **kwargs)

    return wrapper


class Own:
    """An expert of a user's own class, which asks for masks as this package's do, or not at all."""

    def labels(self, observations, masks=None):
        return first_available(masks)

    def bare(self, observations):
        return first_available(None)

    def __call__(self, observations, legal_moves=None):
        return first_available(legal_moves)


class Masked(th.nn.Module):
    """Logits: its masks."""

    def forward(self, observations, masks):
        return th.where(masks, 1.0, -1.0)


TAKERS = {
    "optional": optional,
    "keyword": by_keyword,
    "far behind": far_behind,
    "by place": by_place,
    "decorated": decorated(optional),
    "partial": functools.partial(far_behind, deterministic=False),
    "bound": Own().labels,
    "object": Own(),
    "called": Own().__call__,
    "lambda": lambda observations, masks: first_available(masks),
}


@pytest.mark.parametrize("controller", TAKERS.values(), ids=TAKERS)
def test_whoever_takes_masks_gets_them(controller):
    np.testing.assert_array_equal(adapt_expert(controller, MORTAL).labels(SEEN, ONLY_LAST), LAST)
    np.testing.assert_array_equal(adapt_expert(controller, MORTAL).labels(SEEN), 0 * LAST)


def test_a_network_that_takes_masks_gets_them():
    expert = adapt_expert(Masked(), MORTAL, outputs="logits")
    np.testing.assert_array_equal(expert.labels(SEEN, ONLY_LAST), LAST)
    assert expert.labels(SEEN).shape == LAST.shape


def test_what_is_no_mask_gets_none():
    given = []

    def warm(observations, temperature=1.0):
        given.append(temperature)
        return 0 * LAST

    adapt_expert(warm, MORTAL).labels(SEEN, ONLY_LAST)
    adapt_expert(SimpleNamespace(labels=Own().bare), MORTAL).labels(SEEN, ONLY_LAST)
    assert given == [1.0]


def test_where_nobody_can_tell_it_is_said_that_there_are_no_masks():
    def anything(*args, **kwargs):
        assert len(args) == 1
        assert not kwargs
        return 0 * LAST

    with pytest.warns(UserWarning, match=r"anything: whether it takes masks cannot be read.*alone"):
        adapt_expert(anything, MORTAL).labels(SEEN, ONLY_LAST)
    adapt_expert(anything, GAME)  # nothing is said: a team without masks


@pytest.mark.parametrize(
    ("function", "problem"),
    [
        (
            lambda observations, masks, state: 0,
            "<lambda>: needs state too, expected a function of observations",
        ),
        (lambda observations, *, key: 0, "<lambda>: needs key too"),
        (lambda: 0, "<lambda>: takes no observations"),
    ],
)
def test_other_arguments_are_refused(function, problem):
    with pytest.raises(ExpertError, match=problem):
        adapt_expert(function, MORTAL)


def test_each_agents_controller_gets_its_own_mask_whatever_its_default():
    each = {agent: lambda own, mask=None: int(np.argmax(mask)) for agent in MORTAL.agents}
    each["mortal_1"] = lambda own, *, action_mask=None: int(np.argmax(action_mask))
    np.testing.assert_array_equal(controllers_by_agent(each, MORTAL)(SEEN, ONLY_LAST), LAST)


def test_each_agents_network_and_model_gets_its_own_mask():
    class Flags(th.nn.Module):
        def forward(self, own, masks):
            return masks.int().argmax(dim=1)

    each = {agent: Flags() for agent in MORTAL.agents}
    act = controllers_by_agent(each, MORTAL)
    np.testing.assert_array_equal(act(SEEN, ONLY_LAST), LAST)
    np.testing.assert_array_equal(act(SEEN), 0 * LAST)
    venv = joint_vec_env(lambda: MortalEnv(deaths=(None,)), 2)
    own = MaskablePPO("MlpPolicy", venv, n_steps=8, batch_size=8, device="cpu")
    act = controllers_by_agent({**each, "mortal_0": own}, MORTAL)
    np.testing.assert_array_equal(act(SEEN, ONLY_LAST), LAST)
    with pytest.raises(
        ExpertError, match=r"mortal_1: PPO takes observations of shape \(6,\), the agent's is"
    ):
        controllers_by_agent({**each, "mortal_1": PPO("MlpPolicy", joint_vec_env(MatchingGame, 1))}, MORTAL)


def relaxed() -> TD3:
    venv = joint_vec_env(MortalEnv, 2, view="relaxed")
    return TD3("MlpPolicy", venv, buffer_size=10, policy_kwargs={"net_arch": [4]}, device="cpu")


def test_a_model_in_the_relaxed_view_picks_among_what_is_available():
    expert = adapt_expert(relaxed(), MORTAL)
    np.testing.assert_array_equal(expert.labels(SEEN, ONLY_LAST), LAST)
    assert (expert.labels(SEEN) != LAST).any()


@pytest.mark.parametrize("how", ["plain", "wrapped", "handed on", "overridden"])
def test_a_maskable_model_gets_masks_however_predict_was_wrapped(how):
    model = MaskablePPO("MlpPolicy", joint_vec_env(MortalEnv, 2), n_steps=8, batch_size=8, device="cpu")
    inner = model.predict
    if how == "wrapped":
        model.predict = decorated(inner)
    elif how == "handed on":
        model.predict = handing_on(inner)
    elif how == "overridden":
        model.__class__ = type("Logged", (MaskablePPO,), {"predict": handing_on(MaskablePPO.predict)})
    np.testing.assert_array_equal(adapt_expert(model, MORTAL).labels(SEEN, ONLY_LAST), LAST)


def test_the_predict_of_a_model_is_the_model():
    model = MaskablePPO("MlpPolicy", joint_vec_env(MortalEnv, 2), n_steps=8, batch_size=8, device="cpu")
    np.testing.assert_array_equal(adapt_expert(model.predict, MORTAL).labels(SEEN, ONLY_LAST), LAST)


def test_an_expert_as_a_policy_takes_masks():
    policy = ExpertPolicy(adapt_expert(optional, MORTAL), MORTAL)
    np.testing.assert_array_equal(policy.predict(SEEN, action_masks=ONLY_LAST)[0], LAST)
    np.testing.assert_array_equal(policy.predict(SEEN)[0], 0 * LAST)
    single = adapt_expert(lambda seen, masks: first_available(np.repeat(masks, 5, axis=0))[:1], MORTAL)
    alone, _ = ExpertPolicy(single, MORTAL).predict(SEEN[0], action_masks=ONLY_LAST[0])
    np.testing.assert_array_equal(alone, LAST[0])


def test_one_that_takes_no_masks_is_not_given_any():
    model = PPO("MlpPolicy", joint_vec_env(MortalEnv, 2), n_steps=8, batch_size=8, device="cpu")
    model.predict = decorated(model.predict)
    assert adapt_expert(model, MORTAL).labels(SEEN, ONLY_LAST).shape == LAST.shape


def test_soft_labels_of_combinations_are_among_what_the_others_can_do_too():
    model = DQN("MlpPolicy", joint_vec_env(MortalEnv, 2, view="product"), buffer_size=10, device="cpu")
    masks = np.ones((5, MORTAL.mask_size), dtype=bool)
    masks[:, [0, 5]] = False
    expert = SB3Expert(model, MORTAL, make_view("product", MORTAL))
    with th.no_grad():
        table = th.softmax(model.q_net(th.as_tensor(SEEN)), dim=1).numpy().reshape(5, 3, 4, 3)
    table[:, 0] = table[:, :, 2] = 0
    table /= table.sum(axis=(1, 2, 3), keepdims=True)
    wanted = np.concatenate([table.sum((2, 3)), table.sum((1, 3)), table.sum((1, 2))], axis=1)
    np.testing.assert_allclose(expert.probabilities(SEEN, masks), wanted, rtol=1e-4, atol=1e-6)


def test_soft_labels_add_up_where_only_the_impossible_is_thought_likely():
    logits = np.where(ONLY_LAST, -1000.0, 0.0)
    expert = adapt_expert(lambda observations: logits, MORTAL, outputs="logits")
    np.testing.assert_array_equal(expert.probabilities(SEEN, ONLY_LAST), ONLY_LAST)


class Dropping(th.nn.Module):
    """Dropout and batch norm, and a part that its owner keeps in evaluation mode."""

    def __init__(self, n_inputs: int, n_outputs: int) -> None:
        super().__init__()
        self.net = th.nn.Sequential(
            th.nn.Linear(n_inputs, 32), th.nn.BatchNorm1d(32), th.nn.Dropout(0.5), th.nn.Linear(32, n_outputs)
        )
        self.frozen = th.nn.Dropout(0.5).eval()

    def forward(self, observations):
        return self.frozen(self.net(observations))

    def act(self, observations):
        return self(th.as_tensor(observations)).detach()

    def labels(self, observations, masks=None):
        return self.act(observations)[:, : MORTAL.n_columns] > 0


@pytest.mark.parametrize("how", ["module", "method", "expert", "inside"])
def test_a_network_acts_in_evaluation_mode_and_is_left_as_it_was(how):
    network = Dropping(MORTAL.observation_size, MORTAL.output_size)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    controller: Any = {"module": network, "method": network.act, "expert": network.labels}.get(how)
    if how == "inside":  # an object with `labels` that is a network
        controller = network
        assert not isinstance(adapt_expert(network, MORTAL), SoftExpert)
    outputs = "logits" if how in {"module", "method"} else "actions"
    if how == "module":
        controller = network.net
    expert = adapt_expert(controller, MORTAL, outputs=outputs)
    np.testing.assert_array_equal(expert.labels(SEEN), expert.labels(SEEN))
    np.testing.assert_array_equal(expert.labels(SEEN)[:1], expert.labels(SEEN[:1]))
    assert network.training
    assert network.net[2].training
    assert not network.frozen.training
    for name, value in network.state_dict().items():
        assert th.equal(value, before[name]), name


def test_the_mode_is_put_back_after_an_exception():
    network = Dropping(2, 2)

    def fail(observations):
        assert not network.net[1].training
        raise ZeroDivisionError

    network.act = types.MethodType(lambda self, observations: fail(observations), network)
    with pytest.raises(InvalidActionError, match="ZeroDivisionError"):
        adapt_expert(network.act, MORTAL).labels(SEEN)
    assert network.training
    assert network.net[1].training
    assert not network.frozen.training


def test_a_models_policy_keeps_its_mode():
    model = PPO("MlpPolicy", joint_vec_env(MatchingGame, 2), n_steps=8, batch_size=8, device="cpu")
    model.policy.set_training_mode(True)
    expert = adapt_expert(model, GAME)
    expert.labels(SEEN)
    expert.probabilities(SEEN)
    assert model.policy.training


def test_trying_a_network_of_an_agent_leaves_no_trace():
    team = TeamPolicy(
        GAME.observation_space, GAME.action_space, lambda _: 1e-3, team=GAME, network="custom", module=normed
    )
    assert [int(team.agent(index).network[0].num_batches_tracked) for index in range(2)] == [0, 0]


def normed(n_inputs: int, n_outputs: int) -> th.nn.Module:
    return th.nn.Sequential(th.nn.BatchNorm1d(n_inputs), th.nn.Linear(n_inputs, n_outputs))


def test_an_exported_agent_acts_in_evaluation_mode():
    team = TeamPolicy(
        GAME.observation_space, GAME.action_space, lambda _: 1e-3, team=GAME, network="custom", module=wide
    )
    agent = team.agent(0).train()
    seen = np.zeros(3, dtype=np.float32)
    seen.flags.writeable = False
    assert len({agent.predict(seen, deterministic=True)[0] for _ in range(20)}) == 1
    assert agent.training


def wide(n_inputs: int, n_outputs: int) -> th.nn.Module:
    return th.nn.Sequential(th.nn.Linear(n_inputs, 64), th.nn.Dropout(0.9), th.nn.Linear(64, n_outputs))


def spoiled(observations, masks=None):
    """Writes into everything that it is given."""
    observations[:] = 7.0
    if masks is not None:
        masks[:] = False
    return 0 * LAST[: len(observations)]


@pytest.mark.parametrize("kind", ["function", "object", "each", "module"])
def test_what_is_handed_out_may_be_written_into(kind):
    class Spoiling(th.nn.Module):
        def forward(self, observations):
            return observations.mul_(0)[:, :1].repeat(1, MORTAL.output_size)

    def own(observation, mask):
        observation[:] = mask[:] = 0
        return 0

    controller: Any = {
        "function": spoiled,
        "object": SimpleNamespace(labels=spoiled),
        "each": dict.fromkeys(MORTAL.agents, own),
        "module": Spoiling(),
    }[kind]
    outputs = "logits" if kind == "module" else "actions"
    seen, masks = SEEN.copy(), ONLY_LAST.copy()
    adapt_expert(controller, MORTAL, outputs=outputs).labels(seen, masks)
    np.testing.assert_array_equal(seen, SEEN)
    np.testing.assert_array_equal(masks, ONLY_LAST)


@pytest.mark.parametrize("kind", ["function", "object"])
def test_what_a_controller_keeps_stays_and_what_it_returns_may_be_one_array(kind):
    kept: list[np.ndarray] = []
    answer = np.zeros_like(LAST)

    def remembering(observations):
        kept.append(observations)
        answer[:] = len(kept) % 2
        return answer

    controller = remembering if kind == "function" else SimpleNamespace(labels=remembering)
    expert, seen = adapt_expert(controller, MORTAL), SEEN.copy()
    first = expert.labels(seen)
    seen[:] = 0
    expert.labels(seen)
    np.testing.assert_array_equal(kept[0], SEEN)
    assert (first == 1).all()


def test_a_memory_of_somebodys_own_is_asked_alike():
    class Actor:
        def reset(self, starts):
            if starts is not None:
                starts[:] = False

        def __call__(self, observations):
            observations[:] = 3
            return 0 * LAST

    class Remembering:
        def labels(self, observations):
            return 0 * LAST

        def actor(self):
            return Actor()

    actor = adapt_expert(Remembering(), MORTAL).actor()
    starts, seen = np.ones(5, dtype=bool), SEEN.copy()
    actor.reset(None)
    actor.reset(starts)
    np.testing.assert_array_equal(actor(seen, ONLY_LAST), 0 * LAST)
    assert starts.all()
    np.testing.assert_array_equal(seen, SEEN)


def test_a_trainer_takes_whatever_labels():
    venv = joint_vec_env(MatchingGame, 2, seed=0)
    trainer = MultiAgentDAggerTrainer(
        venv=venv,
        expert_policy=lambda seen: seen.reshape(len(seen), 2, 3).argmax(axis=2),
        rng=np.random.default_rng(0),
        batch_size=4,
        samples_per_update=4,
        custom_logger=imitation_logger.configure(None, []),
    )
    trainer.train(16)
    assert trainer.n_updates > 0


@pytest.mark.parametrize(
    ("answer", "problem"),
    [("left", "returned str"), ([[1, 2], [1]], "returned list"), (None, "returned NoneType")],
)
def test_an_object_that_answers_with_no_array(answer, problem):
    with pytest.raises(InvalidActionError, match=rf"SimpleNamespace\.labels: {problem}, expected an array"):
        adapt_expert(SimpleNamespace(labels=lambda observations: answer), MORTAL).labels(SEEN)


def test_a_continuous_team_is_asked_alike():
    team = TeamSpaces.from_parallel_env(ReachEnv())
    half = adapt_expert(th.nn.Linear(team.observation_size, team.n_columns).to(th.bfloat16), team)
    assert half.labels(np.zeros((3, team.observation_size), np.float32)).dtype == np.float32


class Breaks:
    """An expert whose method looks up what is not there."""

    def labels(self, observations, masks=None):
        return {}["missing"]


def breaks(*arrays):
    return np.zeros(3).columns


@pytest.mark.parametrize(
    ("controller", "message"),
    [
        (breaks, "breaks: raised AttributeError: .* has no attribute 'columns'"),
        (dict.fromkeys(["player_0", "player_1"], breaks), ".*player_0.*: raised AttributeError: "),
        (Breaks(), "Breaks.labels: raised KeyError: 'missing'"),
        (lambda seen: seen.reshape(7, 7), ".*: raised ValueError: cannot reshape"),
    ],
)
def test_what_a_controller_raises_is_one_line_with_its_place(controller, message):
    place = r"\(tests/bring/test_asked.py:\d+\)"
    with pytest.raises(InvalidActionError, match=rf"^{message}.* {place}$") as told:
        adapt_expert(controller, GAME).labels(np.zeros((2, 6), np.float32))
    assert "\n" not in str(told.value)
    assert told.value.__cause__ is not None
