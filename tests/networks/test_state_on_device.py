"""What a network remembers stays on its device from step to step; SB3's `predict` returns arrays."""

import functools

import numpy as np
import pytest
import torch as th

from cesma_sb3.algorithms import RecurrentFactoredDQN, TeamPPO
from cesma_sb3.evaluation import evaluate, policy_actor
from cesma_sb3.experts import SB3Expert, make_actor
from cesma_sb3.imitation.collector import students_actor
from cesma_sb3.policies import TeamPolicy
from cesma_sb3.policies.stateful_actor import predict_on_device
from cesma_sb3.training.sb3_state import ModelState
from cesma_sb3.training.state import capture, restore
from tests.imitation.test_recurrent import students, venv_of

HIDDEN = 11
N_ENVS = 3
RECURRENT = {"network": "recurrent", "hidden_sizes": (HIDDEN,)}


def team_of(venv):
    return students(venv.team, hidden_sizes=(HIDDEN,))


def q_learner(venv):
    kwargs = {"team": venv.team, "visibility": "joint", **RECURRENT}
    return RecurrentFactoredDQN(
        "MlpPolicy", venv, policy_kwargs=kwargs, buffer_size=500, learning_starts=20, batch_size=4, seed=0
    )


def ppo(venv):
    return TeamPPO(
        "MlpPolicy", venv, policy_kwargs={"team": venv.team, **RECURRENT}, n_steps=8, batch_size=8, seed=0
    )


MODELS = {"Q-learning": q_learner, "PPO": ppo}
ACTORS = {
    "students": lambda venv: team_of(venv).actor(),
    "sampled students": lambda venv: team_of(venv).actor(np.random.default_rng(0)),
    "students that learn": lambda venv: students_actor(team_of(venv), deterministic=False),
    "policy of Q-learning": lambda venv: make_actor(SB3Expert(q_learner(venv).policy, venv.team, venv.view)),
    **{name: lambda venv, make=make: make_actor(expert_of(make, venv)) for name, make in MODELS.items()},
    "sampled PPO": lambda venv: expert_of(ppo, venv).sampler(np.random.default_rng(0)),
}


def expert_of(make, venv):
    return SB3Expert(make(venv), venv.team, venv.view)


@pytest.fixture
def stays(monkeypatch):
    """No tensor of the size of a state goes to the host."""

    def refuses(method, self, *args, **kwargs):
        assert self.shape[-1:] not in {(HIDDEN,), (2 * HIDDEN,)}, f"{tuple(self.shape)} goes to the host"
        return method(self, *args, **kwargs)

    for name in ("cpu", "numpy", "tolist", "__array__"):
        method = getattr(th.Tensor, name)
        refusing = functools.partialmethod(functools.partial(refuses, method))
        monkeypatch.setattr(th.Tensor, name, refusing)


@pytest.mark.parametrize("make", ACTORS.values(), ids=ACTORS)
def test_an_actors_memory_stays_where_it_is(make, stays):
    venv = venv_of(N_ENVS)
    act, seen = make(venv), venv.reset()
    for _ in range(4):
        actions = act(seen, None)
        assert isinstance(act.state[0], th.Tensor)
        assert act.state[0].any()
        seen, _, dones, _ = venv.step(actions)
        act.reset(dones)


@pytest.mark.parametrize("make", MODELS.values(), ids=MODELS)
def test_what_is_remembered_while_a_model_trains_stays_where_it_is(make, stays):
    model = make(venv_of(N_ENVS)).learn(60)
    assert isinstance(model._memory[0], th.Tensor)
    assert model._n_updates > 0


def test_an_evaluation_leaves_it_where_it_is(stays):
    venv = venv_of(N_ENVS)
    assert len(evaluate(policy_actor(team_of(venv)), venv, n_eval_episodes=4, seed=0).team) == 4


@pytest.mark.parametrize("make", [team_of, q_learner, ppo, lambda venv: q_learner(venv).policy])
def test_predict_returns_arrays_and_acts_as_an_actor_does(make):
    venv = venv_of(N_ENVS)
    model, rng, state, kept = make(venv), np.random.default_rng(0), None, None
    on_device = predict_on_device(model)
    for _ in range(3):
        seen, starts = rng.normal(size=(N_ENVS, 4)).astype(np.float32), rng.random(N_ENVS) < 0.3
        actions, state = model.predict(seen, state, starts, deterministic=True)
        assert [type(each) for each in state] == [np.ndarray]
        same, kept = on_device(seen, kept, starts, deterministic=True)
        np.testing.assert_array_equal(actions, same)
        np.testing.assert_array_equal(state[0], kept[0].numpy())


def test_an_agents_predict_returns_arrays():
    _, state = team_of(venv_of(1)).agent(0).predict(np.zeros(2, dtype=np.float32))
    assert [type(each) for each in state] == [np.ndarray]


def test_a_predict_that_a_user_wrote_is_what_acts_and_gets_arrays():
    given = []

    class Mine(TeamPolicy):
        def predict(self, observation, state=None, *args, **kwargs):
            given.append(state)
            actions, state = super().predict(observation, state, *args, **kwargs)
            return 1 - actions, state

    venv = venv_of(N_ENVS)
    plain = team_of(venv)
    mine = Mine(
        venv.team.observation_space, venv.team.action_space, lambda _: 1e-3, team=venv.team, **RECURRENT
    )
    wrapped = team_of(venv)

    @functools.wraps(wrapped.predict)
    def contrary(*args, **kwargs):
        actions, state = plain.predict(*args, **kwargs)
        return 1 - actions, state

    wrapped.predict = contrary
    observations = venv.reset()
    np.testing.assert_array_equal(wrapped.actor()(observations), 1 - plain.actor()(observations))
    act = mine.actor()
    act(observations), act(observations)
    assert given[0] is None
    assert isinstance(given[1][0], np.ndarray)


@pytest.mark.parametrize("make", MODELS.values(), ids=MODELS)
def test_it_is_in_a_checkpoint_but_in_no_models_file(make, tmp_path):
    model = make(venv_of(N_ENVS)).learn(24)
    restored = {"memory": None}
    restore(restored, *capture({"memory": ModelState(model).state_dict()["_memory"]}))
    assert th.equal(restored["memory"][0], model._memory[0])
    model.save(tmp_path / "model")
    assert type(model).load(tmp_path / "model", device="cpu")._memory is None
