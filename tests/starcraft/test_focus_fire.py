"""The scripted expert of battles: whom it shoots at, where it walks, that it wins; win rates."""

from contextlib import closing

import numpy as np
import pytest

from cesma_sb3.config.registry import make_experiment
from cesma_sb3.envs import make_vec_env
from cesma_sb3.errors import ExpertError
from cesma_sb3.evaluation import Returns, evaluate, make_actor, random_actor
from cesma_sb3.experts import reference_expert
from cesma_sb3.experts.scripted.focus_fire import FocusFireExpert
from cesma_sb3.training.evaluator import Evaluator
from cesma_sb3.training.pretrained import make_pretrained
from tests.starcraft.skirmish import FEATURES

TARGET = "smac-like:tests.starcraft.skirmish:Skirmish"


def battles(**kwargs):
    return make_vec_env(TARGET, kwargs=kwargs, n_envs=4, seed=0)


def labels(venv, change):
    """What the expert says after `change(seen, masks)` has set enemies [agents, enemies, 2] and masks."""
    venv.reset()
    expert = reference_expert(venv)
    observation = np.zeros((1, venv.team.observation_size), dtype=np.float32)
    masks = np.zeros((1, venv.team.n_agents, venv.team.mask_size // venv.team.n_agents), dtype=bool)
    masks[..., 1:4] = True
    seen = np.zeros((venv.team.n_agents, 2, 2), dtype=np.float32)
    change(seen, masks[0])
    for index, where in enumerate(venv.team.observation_slices):
        observation[0, where.start + 2 : where.start + 6] = seen[index].reshape(-1)
    return expert.labels(observation, masks.reshape(1, -1))[0].tolist()


def test_all_shoot_at_the_weakest_who_is_in_somebodys_reach():
    def change(seen, masks):
        seen[:, 0], seen[:, 1] = (0.25, 1.0), (0.25, 0.5)  # the second is the weaker
        masks[0, 4:], masks[1, 4:] = True, [True, False]  # the third agent reaches nobody

    assert labels(battles(), change) == [5, 4, 3]


def test_who_reaches_nobody_walks_to_the_nearest_or_forward():
    def change(seen, masks):
        seen[0, 0], seen[0, 1] = (-0.5, 1.0), (0.9, 1.0)
        masks[2, 1:] = False
        masks[2, 1] = True  # cannot move

    assert labels(battles(), change) == [2, 3, 1]


def test_the_dead_do_nothing():
    def change(seen, masks):
        masks[1] = False
        masks[1, 0] = True

    assert labels(battles(), change)[1] == 0


def test_it_takes_no_arguments():
    experiment = make_experiment(
        {
            "name": "battle",
            "env": {"id": TARGET},
            "expert": {"algorithm": "scripted", "kwargs": {"uncertainty": 0.1}},
            "dagger": {"total_timesteps": 10},
        },
        {},
        called="battle",
    )
    with closing(Evaluator(experiment)) as evaluator, pytest.raises(ExpertError, match="takes none, got unc"):
        make_pretrained(experiment.expert, evaluator)


def test_it_wins_where_random_agents_do_not():
    venv = battles(n_allies=3, n_enemies=2)
    scripted = evaluate(make_actor(reference_expert(venv)), venv, n_eval_episodes=60, seed=1)
    random = evaluate(random_actor(venv.team, np.random.default_rng(0)), venv, n_eval_episodes=60, seed=1)
    assert scripted.win_rate > 0.5
    assert random.win_rate < 0.1
    low, high = scripted.win_interval
    assert 0 < low < scripted.win_rate < high <= 1


def test_the_interval_is_wilsons():
    nothing = np.zeros(10)
    returns = Returns(nothing, nothing.astype(int), {}, np.arange(10) < 8)
    # Wilson (1927): the centre and the half-width of the 95% score interval of 8 in 10.
    z, p, n = 1.959964, 0.8, 10
    centre = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * np.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    assert returns.win_interval == pytest.approx((centre - half, centre + half), abs=1e-6)
    assert Returns(nothing, nothing.astype(int), {}).win_rate is None


def test_what_is_refused():
    venv = battles()
    with pytest.raises(ExpertError, match="expected the masks of a battle"):
        reference_expert(venv).labels(venv.reset())
    spread = make_vec_env("spread", n_envs=1)
    with pytest.raises(ExpertError, match="has no part 'enemies'"):
        FocusFireExpert(spread.team, FEATURES)
