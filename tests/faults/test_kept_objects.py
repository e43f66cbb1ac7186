"""The state of a user's objects is in a checkpoint, or they are refused by name before anything trains."""

import collections
import dataclasses
import enum
import pathlib
import random
import threading
from fractions import Fraction

import numpy as np
import pytest
import torch as th
from stable_baselines3 import SAC
from stable_baselines3.common.vec_env import VecNormalize
from torch import nn

from cesma_sb3.config.registry import make_experiment
from cesma_sb3.envs.joint_env import JointEnv
from cesma_sb3.envs.particle import ParticleVecEnv, Spread
from cesma_sb3.errors import ConfigError, StorageError
from cesma_sb3.imitation.losses import ColumnwiseLoss
from cesma_sb3.policies.distributions import ActionHead
from cesma_sb3.training import state as state_module
from cesma_sb3.training.run import run_experiment
from tests.envs_for_tests import MatchingGame


class Running:
    """A loss with running statistics, as anybody would write it."""

    def __init__(self, team=None, head=None, momentum=0.5):
        self.head, self.momentum = head, momentum
        self.mean, self.seen, self.by_agent = th.zeros(2), 0, {}
        self.newest = collections.deque(maxlen=2)

    def __call__(self, outputs, batch):
        losses = outputs.square().mean() * th.ones(batch.alive.shape[1])
        self.see(losses.detach())
        return losses

    def see(self, losses):
        self.mean = self.momentum * self.mean + (1 - self.momentum) * losses
        self.seen += 1
        self.by_agent[self.seen % 2] = losses.numpy().copy()
        self.newest.append(float(losses[0]))


class Weighing(Running):
    """Its gradients depend on everything that it has seen."""

    def __init__(self, team, head):
        super().__init__(team, head)
        self.mean = th.zeros(team.n_agents)

    def __call__(self, outputs, batch):
        losses = super().__call__(outputs, batch)
        return losses * (1.0 + self.mean + self.seen / 10 + sum(self.newest))


class SaysItself:
    """Says what its state is, and keeps a lock that no checkpoint could hold."""

    def __init__(self, team=None, head=None):
        self.lock, self.total = threading.Lock(), 0.0
        self.history = [th.zeros(1)]

    def state_dict(self):
        return {"total": self.total, "history": self.history}

    def load_state_dict(self, state):
        self.total, self.history = state["total"], state["history"]

    def __call__(self, outputs, batch):
        with self.lock:
            self.total += 1.0
        return outputs.square().mean() * th.ones(batch.alive.shape[1])


class Counting(ColumnwiseLoss):
    """One of ours, with something more in it."""

    calls = 0

    def __call__(self, outputs, batch):
        self.calls += 1
        return super().__call__(outputs, batch)


class Noisy(nn.Linear):
    """A network whose noise falls with every call."""

    def __init__(self):
        super().__init__(2, 2)
        self.scale = 1.0
        self.register_buffer("mean", th.zeros(2), persistent=False)

    def forward(self, inputs):
        self.scale *= 0.5
        self.mean = self.mean + inputs.mean(dim=0)
        return super().forward(inputs) * self.scale


class Locked:
    def __init__(self, team=None, head=None):
        self.parts = {"guard": [threading.Lock()]}


class Slotted:
    __slots__ = ("count",)

    def __init__(self, team=None, head=None):
        self.count = 3


class Metres(float):
    """A number of a class of its own, in the state of a loss."""


class Measuring(Running):
    def __init__(self, team=None, head=None):
        super().__init__(team, head)
        self.longest = Metres(2.5)


class Drawing:
    """Has a generator of Python's."""

    def __init__(self, team=None, head=None):
        self.stream = (number for number in range(3))


class Unpacked(SaysItself):
    def state_dict(self):
        return {"head": [Slotted()]}


class Failing(SaysItself):
    def state_dict(self):
        raise KeyError("nothing yet")


class Choosy(SaysItself):
    def load_state_dict(self, state):
        raise ValueError("expected another state")


class Colour(enum.Enum):
    RED = 1


@dataclasses.dataclass(frozen=True)
class Settings:
    sizes: tuple[int, ...] = (3, 4)


def after_a_restart(before, anew):
    """What an object is after a checkpoint, in a training that was made anew."""
    root = {"loss": anew}
    assert state_module.restore(root, *state_module.capture({"loss": before}))
    return root["loss"]


def test_attributes_of_any_class_are_kept():
    before = Running()
    for value in (1.0, 3.0, 5.0):
        before.see(th.tensor([value, 2 * value]))
    after = after_a_restart(before, Running())
    assert after.mean.tolist() == before.mean.tolist()
    assert (after.seen, after.newest, after.newest.maxlen) == (3, before.newest, 2)
    assert {key: value.tolist() for key, value in after.by_agent.items()} == {1: [5.0, 10.0], 0: [3.0, 6.0]}


def test_a_state_dict_goes_before_attributes():
    before = SaysItself()
    before.total, before.history = 7.5, [th.ones(2), th.zeros(3)]
    anew = SaysItself()
    lock = anew.lock
    after = after_a_restart(before, anew)
    assert after.lock is lock
    assert after.total == 7.5
    assert [each.tolist() for each in after.history] == [[1.0, 1.0], [0.0, 0.0, 0.0]]


def test_generators_go_on_where_they_were():
    def drawn(holder):
        return holder.extra[0].random(), holder.extra[1].random()

    holders = [Running(), Running()]
    for holder in holders:
        holder.extra = [random.Random(), np.random.default_rng()]
    drawn(holders[0])
    after = after_a_restart(*holders)
    assert drawn(after) == drawn(holders[0])


def test_schedulers_of_learning_rates_are_kept():
    def made():
        layer = nn.Linear(2, 2)
        optimizer = th.optim.SGD(layer.parameters(), lr=1.0)
        return {"layer": layer, "optimizer": optimizer, "falls": th.optim.lr_scheduler.StepLR(optimizer, 1)}

    before, after = made(), made()
    before["optimizer"].step()
    before["falls"].step()
    assert state_module.restore(after, *state_module.capture(before))
    assert after["falls"].last_epoch == 1
    assert after["falls"].get_last_lr() == [pytest.approx(0.1)]
    assert th.equal(before["layer"].weight, after["layer"].weight)


def test_a_subclass_of_ours_keeps_what_it_adds():
    team = JointEnv(MatchingGame()).team
    losses = [
        Counting(team, ActionHead(team.column_categories), class_weights="inverse-frequency") for _ in "12"
    ]
    losses[0].calls = 3
    losses[0].counts.counts += 5
    after = after_a_restart(*losses)
    assert after.calls == 3
    assert (after.counts.counts == losses[0].counts.counts).all()


def test_a_network_keeps_more_than_its_weights():
    networks = [nn.Sequential(nn.Linear(2, 2), Noisy()) for _ in range(2)]
    networks[0](th.ones(3, 2))
    after = after_a_restart(*networks)
    inputs = th.rand(4, 2)
    assert th.equal(after(inputs), networks[0](inputs))
    assert th.equal(after[1].mean, networks[0][1].mean)


def test_a_wrapper_of_sb3_keeps_its_statistics():
    wrappers = [VecNormalize(ParticleVecEnv(Spread(n_agents=2), 3, seed=0)) for _ in range(2)]
    actions = np.ones((3, 2), dtype=np.int64)
    wrappers[0].reset()
    for _ in range(5):
        wrappers[0].step(actions)
    after = after_a_restart(*wrappers)
    assert (after.obs_rms.mean == wrappers[0].obs_rms.mean).all()
    assert (after.returns == wrappers[0].returns).all()
    assert (after.step(actions)[0] == wrappers[0].step(actions)[0]).all()


def test_a_model_of_sb3_keeps_its_optimizers_and_its_buffer():
    models = [SAC("MlpPolicy", "Pendulum-v1", buffer_size=100, learning_starts=8, seed=0) for _ in range(2)]
    models[0].learn(20)
    root = {"model": models[1]}
    assert not state_module.restore(
        root, *state_module.capture({"model": models[0]})
    )  # a Gymnasium environment
    before, after = (
        [
            *model.policy.state_dict().values(),
            *(state["exp_avg"] for state in model.actor.optimizer.state_dict()["state"].values()),
            model.log_ent_coef.detach(),
            th.as_tensor(model.replay_buffer.rewards),
        ]
        for model in models
    )
    assert all(map(th.equal, before, after))
    assert models[1].num_timesteps == models[0].num_timesteps == 20
    assert models[1].ent_coef_optimizer.param_groups[0]["params"][0] is models[1].log_ent_coef


@pytest.mark.parametrize(
    "value",
    [
        *(b"bytes", 3j, range(4), frozenset({1}), pathlib.Path("a"), Fraction(1, 3), Colour.RED, Settings()),
        *(np.dtype(np.int8), th.float32, len, np.add, Running, object(), Ellipsis, th.Size([2])),
    ],
    ids=lambda value: type(value).__name__,  # a representation may hold an address
)
def test_what_cannot_change_is_constant(value):
    holder, anew = Running(), Running()
    holder.extra = anew.extra = value
    assert after_a_restart(holder, anew).extra == value


@pytest.mark.parametrize(
    ("made", "told"),
    [
        (
            Locked,
            "loss.parts.guard[0]: a checkpoint cannot hold the state of _thread:lock; expected state_di",
        ),
        (
            Slotted,
            "loss: a checkpoint cannot hold the state of tests.faults.test_kept_objects:Slotted; expec",
        ),
        (
            Drawing,
            "loss.stream: a checkpoint cannot hold the state of builtins:generator; expected state_dic",
        ),
        (
            Measuring,
            "loss.longest: a checkpoint cannot hold the state of tests.faults.test_kept_objects:Metres; exp",
        ),
        (Unpacked, "loss.state_dict()['head'][0]: tests.faults.test_kept_objects:Slotted, expected numbers"),
        (Failing, "loss.state_dict(): KeyError: 'nothing yet'"),
    ],
)
def test_what_a_checkpoint_cannot_hold_is_named(made, told):
    with pytest.raises(StorageError) as caught:
        state_module.capture({"loss": made()})
    assert str(caught.value).startswith(told)
    assert "\n" not in str(caught.value)


HERE = "tests.faults.test_kept_objects"
TINY = {
    "name": "tiny",
    "env": {"id": "tests.envs_for_tests:MatchingGame"},
    "expert": {"algorithm": "PPO", "total_timesteps": 10**9},
    "dagger": {"total_timesteps": 10},
    "evaluation": {"n_final_episodes": 2, "n_eval_episodes": 2, "n_envs": 1},
}


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("Locked", "dagger.loss_class.parts.guard[0]: a checkpoint cannot hold the state of _thread:lock"),
        ("Slotted", "dagger.loss_class: a checkpoint cannot hold the state of"),
        ("Choosy", "expected another state"),
    ],
)
def test_it_is_refused_before_anything_trains(name, told, tmp_path):
    experiment = make_experiment(TINY, {"dagger.loss_class": f"{HERE}:{name}"}, called="tiny")
    with pytest.raises((StorageError, ConfigError)) as caught:
        run_experiment(experiment, out=tmp_path / "run")
    assert told in str(caught.value)
    assert not (tmp_path / "run").exists()
