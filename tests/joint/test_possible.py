"""Actions before they are done: what may be wrong with them, and what is done in their place."""

import numpy as np
import pytest

from cesma_sb3.envs.action_validator import ActionValidator
from cesma_sb3.envs.joint_vec_env import joint_vec_env
from cesma_sb3.errors import InvalidActionError
from tests.envs_for_tests import MixedEnv, MortalEnv


def mortal(replaces=False):
    """Two environments at their first step: agent i of three may do everything but category i."""
    venv = joint_vec_env(MortalEnv, 2, seed=0, team_reward="sum")
    venv.reset()
    venv.replaces_unavailable = replaces
    return venv, ActionValidator(venv)


def test_what_is_available_stays():
    _, possible = mortal()
    actions = np.array([[1, 0, 0], [2, 3, 1]])
    assert possible(actions, "who") is actions


def test_what_is_not_available_is_told_with_what_is():
    _, possible = mortal()
    told = r"^who: 1 for mortal_1 in environment 1, step 0 of its episode: not available; what is: 0, 2, 3$"
    with pytest.raises(InvalidActionError, match=told):
        possible(np.array([[1, 0, 0], [1, 1, 0]]), "who")


def test_or_replaced_by_the_first_that_is():
    _, possible = mortal(replaces=True)
    actions = np.array([[0, 1, 2], [1, 1, 0]])
    np.testing.assert_array_equal(possible(actions, "who"), [[1, 0, 0], [1, 0, 0]])
    np.testing.assert_array_equal(actions, [[0, 1, 2], [1, 1, 0]])


def test_the_dead_may_say_anything():
    venv, possible = mortal()
    for _ in range(2):
        first = [flags.argmax() for flags in np.split(venv.agent_masks[0], [3, 7])]
        venv.step(np.array([first] * 2))
        possible.advance(np.array([False, False]))
    assert venv.alive.tolist() == [[False, True, True]] * 2
    living = [int(np.flatnonzero(flags)[-1]) for flags in np.split(venv.agent_masks[0], [3, 7])]
    actions = np.array([[2, *living[1:]]] * 2)
    assert possible(actions, "who") is actions
    with pytest.raises(InvalidActionError, match="for mortal_2 in environment 0, step 2 of its episode: not"):
        possible(np.array([[2, living[1], int(np.flatnonzero(~venv.agent_masks[0, 7:])[0])]] * 2), "who")
    possible.advance(np.array([True, False]))
    with pytest.raises(InvalidActionError, match="environment 1, step 3"):
        possible(np.array([actions[0], [2, 9, 0]]), "who")
    possible.advance(None)
    with pytest.raises(InvalidActionError, match="environment 0, step 0"):
        possible(np.array([[2, 9, 0], actions[0]]), "who")


def test_what_is_no_action_is_told():
    _, possible = mortal()
    for actions, told in (
        (np.zeros((2, 2)), r"shape \(2, 2\), expected \(2, 3\)"),
        (np.array([[1, 0, 0], [1, 4, 0]]), "4 for mortal_1 in environment 1, .*: expected 0 to 3"),
        (np.array([[-1, 0, 0], [1, 0, 0]]), "-1 for mortal_0 in environment 0, .*: expected 0 to 2"),
        (np.array([[1, 0, np.nan], [1, 0, 0]]), "nan for mortal_2 in environment 0, .*: expected 0 to 2"),
    ):
        with pytest.raises(InvalidActionError, match=told):
            possible(actions, "who")
    numbers = ActionValidator(joint_vec_env(lambda: MixedEnv((3,)), 1))
    assert numbers(np.array([[9.0, -9.0]]), "who").tolist() == [[9.0, -9.0]]
    with pytest.raises(InvalidActionError, match=r"inf for 3 .*: expected a finite number"):
        numbers(np.array([[0.0, np.inf]]), "who")
