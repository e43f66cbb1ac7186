"""What is saved belongs to agents by their names: another order is the same team, other names are another."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from gymnasium import spaces
from stable_baselines3 import PPO

import cesma_sb3
from cesma_sb3.config.registry import load_experiment
from cesma_sb3.envs import make_vec_env, undivided_view
from cesma_sb3.envs.joint_env import JointEnv
from cesma_sb3.envs.joint_vec_env import joint_vec_env
from cesma_sb3.envs.particle import parallel_env
from cesma_sb3.errors import ExpertError, LayoutError, SpaceError, StorageError
from cesma_sb3.evaluation import ablate_messages, evaluate, make_actor, policy_actor
from cesma_sb3.experts.adapt import adapt_expert
from cesma_sb3.policies import MixturePolicy, TeamPolicy, load_team, save_team
from cesma_sb3.spaces.team_spaces import TeamSpaces
from cesma_sb3.spaces.team_views import reordered_view
from cesma_sb3.testing import check_environment
from cesma_sb3.training.evaluate_run import evaluate_run
from cesma_sb3.training.run_folder import RunFolder
from tests.bring.test_declared_teams import ENV as CUES
from tests.bring.test_declared_teams import TEAM
from tests.envs_for_tests import SmallEnv

NAMES = ("ann", "bob", "cid")
HERE = "tests.joint.test_whose"


class Posts(SmallEnv):
    """Everybody is to take the post of its own name; an observation tells the agent's number in the team.

    Posts and observations differ in size from agent to agent where they are `unlike`.
    """

    def __init__(self, names: Any = NAMES, unlike: bool = False) -> None:
        super().__init__(names)
        self.unlike = unlike

    def post(self, agent: Any) -> int:
        return NAMES.index(agent)

    def observation_space(self, agent: Any) -> spaces.Space:
        return spaces.Box(-1.0, 1.0, (1 + self.post(agent) * self.unlike,), np.float32)

    def action_space(self, agent: Any) -> spaces.Space:
        return spaces.Discrete(3 + (2 - self.post(agent)) * self.unlike)

    def observe(self, agent: Any) -> np.ndarray:
        shape = self.observation_space(agent).shape
        return np.full(shape, 0.1 * self.post(agent) + 0.2, np.float32)

    def step(self, actions: dict[Any, int]) -> tuple[dict, dict, dict, dict, dict]:
        acted, self.t = list(self.agents), self.t + 1
        rewards = {
            agent: float(actions[agent] == self.post(agent)) * 10 ** self.post(agent) for agent in acted
        }
        if self.t == 2:
            self.agents = []
        ends = dict.fromkeys(acted, self.t == 2)
        return {a: self.observe(a) for a in acted}, rewards, dict.fromkeys(acted, False), ends, {}


class Strangers(Posts):
    """The same for agents of other names."""

    def __init__(self, names: Any = ("dan", "eve", "fay")) -> None:
        super().__init__(names)

    def post(self, agent: Any) -> int:
        return "def".index(agent[0])


class OfTeam:
    """An expert of the order that it was made in."""

    def __init__(self, team: TeamSpaces) -> None:
        self.team = team
        self.posts = np.array([NAMES.index(agent) for agent in team.agents])

    def labels(self, observations: np.ndarray, masks: Any = None) -> np.ndarray:
        where = [part.start for part in self.team.observation_slices]
        np.testing.assert_allclose(
            observations[:, where], np.tile(0.1 * self.posts + 0.2, (len(observations), 1))
        )
        return np.tile(self.posts, (len(observations), 1))


def venv_of(*names: str, unlike: bool = True, **kwargs: Any) -> Any:
    return joint_vec_env(lambda: Posts(names or NAMES, unlike), 2, team_reward="sum", seed=0, **kwargs)


def policy_of(team: TeamSpaces, **kwargs: Any) -> TeamPolicy:
    kwargs = {"critic_visibility": "own", "hidden_sizes": (8,), **kwargs}
    return TeamPolicy(team.observation_space, team.action_space, lambda _: 0.0, team=team, **kwargs)


def everybodys_post(team: TeamSpaces) -> TeamPolicy:
    """Students whose outputs are the largest at their own post, whatever they see."""
    policy = policy_of(team)
    for index, agent in enumerate(team.agents):
        last = policy.action_net.layers[-1]
        last.weight.data[index] = 0.0
        last.bias.data[index] = 0.0
        last.bias.data[index, 0, NAMES.index(agent)] = 1.0
    return policy


@pytest.mark.parametrize("names", [("cid", "ann", "bob"), ("bob", "ann", "cid")])
def test_an_environment_is_joined_in_the_order_that_is_asked_for(names):
    env = JointEnv(Posts(names, unlike=True), team_reward="sum", agents=NAMES)
    assert env.team == JointEnv(Posts(unlike=True)).team
    assert env.team.agents == NAMES
    observation, _ = env.reset()
    np.testing.assert_allclose(observation, [0.2, 0.3, 0.3, 0.4, 0.4, 0.4])
    assert env.step(np.array([0, 1, 0]))[1] == 11.0
    *_, info = env.step(np.array([0, 0, 2]))
    assert info["agent_returns"] == {"ann": 2.0, "bob": 10.0, "cid": 100.0}


@pytest.mark.parametrize("wanted", [("ann", "bob"), ("ann", "bob", "dan"), ("ann", "bob", "cid", "dan")])
def test_agents_of_other_names_are_refused_with_both_teams(wanted):
    told = f"its agents are ann, bob, cid; expected {', '.join(wanted)}"
    with pytest.raises(SpaceError, match=told):
        JointEnv(Posts(), agents=wanted)
    with pytest.raises(SpaceError, match=f"environment 0: .*{told}"):
        venv_of(agents=wanted)


@pytest.mark.parametrize(
    "names", [set(NAMES), frozenset(NAMES), iter(NAMES)], ids=["set", "frozenset", "iterator"]
)
def test_agents_without_an_order_are_refused(names):
    for take in (TeamSpaces.from_parallel_env, JointEnv, lambda env: check_environment(lambda: env)):
        with pytest.raises(SpaceError, match=r"possible_agents is a \w+, which has no order"):
            take(Posts(names))


@pytest.mark.parametrize(
    "names", [dict.fromkeys(NAMES), dict.fromkeys(NAMES).keys(), np.array(NAMES)], ids=type
)
def test_agents_may_stand_in_whatever_has_an_order(names):
    assert JointEnv(Posts(names)).team.agents == NAMES


def test_two_agents_of_one_name_are_refused():
    with pytest.raises(SpaceError, match="expected each to have a name of its own"):
        TeamSpaces.from_parallel_env(SimpleNamespace(possible_agents=[1, "1"]))


def test_parts_in_the_order_of_the_others_keep_it():
    env = parallel_env("spread", n_agents=3)
    assert JointEnv(env, agents=env.possible_agents).team.agents == tuple(env.possible_agents)
    with pytest.raises(LayoutError, match=r"has the others in the order agent_0, agent_1, agent_2"):
        JointEnv(env, agents=env.possible_agents[::-1])
    JointEnv(parallel_env("spread", n_agents=2), agents=["agent_1", "agent_0"])  # there is one other


def test_batched_environments_keep_their_order():
    with pytest.raises(SpaceError, match="its agents are agent_0, agent_1, expected this order"):
        make_vec_env("spread", kwargs={"n_agents": 2}, agents=["agent_1", "agent_0"])
    with pytest.raises(SpaceError, match="spread: its agents are agent_0, agent_1; expected a, b"):
        make_vec_env("spread", kwargs={"n_agents": 2}, agents=["a", "b"])


@pytest.mark.parametrize(
    ("names", "which", "place"),
    [
        (("1", "2", "3"), 1, 0),
        (("1", "2", "3"), np.int64(3), 2),
        (("10", "0", "5"), 0, 1),
        (("robot", "7"), 7, 1),
        (("-1", "1"), -1, 0),
        (("a", "b"), 1, 1),
        (("a1", "b"), 1, 1),
    ],
)
def test_a_number_is_a_name_where_agents_are_called_so(names, which, place):
    box = dict.fromkeys(names, spaces.Box(0.0, 1.0, (1,)))
    team = TeamSpaces(names, box, dict.fromkeys(names, spaces.Discrete(2)))
    assert team.agent_index(which) == place
    agent = policy_of(team).agent(which)
    assert agent.name == names[place]


def test_a_number_that_is_no_name_is_refused_where_agents_are_called_by_numbers():
    box = dict.fromkeys("123", spaces.Box(0.0, 1.0, (1,)))
    team = TeamSpaces("123", box, dict.fromkeys("123", spaces.Discrete(2)))
    with pytest.raises(SpaceError, match="unknown agent '0'"):
        policy_of(team).agent(0)


def test_what_goes_to_the_other_order_comes_back():
    team = TeamSpaces.from_parallel_env(Posts(unlike=True))
    order = reordered_view(team, team.in_order(("cid", "ann", "bob")))
    rng = np.random.default_rng(0)
    joint = rng.normal(size=(4, team.observation_size))
    parts = order.team.split_observations(order.observations(joint))
    for agent, own in team.split_observations(joint).items():
        np.testing.assert_array_equal(parts[agent], own)
    flags = rng.random((4, team.mask_size)) < 0.5
    np.testing.assert_array_equal(order.probabilities(order.masks(flags)), flags)
    for agent in team.agents:
        mine, theirs = (one.mask_slices[one.agent_index(agent)] for one in (team, order.team))
        np.testing.assert_array_equal(order.masks(flags)[:, theirs], flags[:, mine])
    assert order.actions(np.array([[2, 0, 1]])).tolist() == [[0, 1, 2]]


@pytest.mark.parametrize("names", [NAMES, ("cid", "ann", "bob"), ("bob", "cid", "ann")])
@pytest.mark.parametrize("kind", ["team", "mixture"])
def test_a_saved_team_acts_by_names(names, kind, tmp_path):
    policy = everybodys_post(venv_of().team)
    save_team(policy if kind == "team" else MixturePolicy([policy, policy]), tmp_path)
    venv = venv_of(*names)
    for loaded in (load_team(tmp_path), load_team(tmp_path, team=venv.team)):
        assert loaded.team.agents == NAMES
        assert evaluate(loaded, venv, n_eval_episodes=2).mean == 222.0
    assert evaluate(policy, venv, n_eval_episodes=2).mean == 222.0


def test_saved_weights_are_refused_by_other_agents(tmp_path):
    policy = everybodys_post(venv_of(unlike=False).team)
    save_team(policy, tmp_path)
    strangers = joint_vec_env(Strangers, 1)
    with pytest.raises(
        StorageError, match=r"weights belong to the agents ann, bob, cid; expected .* dan, eve, fay"
    ):
        load_team(tmp_path, team=strangers.team)
    for act in (policy_actor(policy), policy_actor(policy, deterministic=False)):
        with pytest.raises(SpaceError, match="its agents are dan, eve, fay; expected ann, bob, cid"):
            evaluate(act, strangers, n_eval_episodes=1)


@pytest.mark.parametrize("use_agent_id", [False, True])
def test_weights_over_entities_are_anybodys_unless_agents_are_told_apart(use_agent_id, tmp_path):
    small, large = (make_vec_env("spread", kwargs={"n_agents": n}).team for n in (2, 3))
    save_team(policy_of(small, network="entities", hidden_sizes=(8, 8), use_agent_id=use_agent_id), tmp_path)
    if not use_agent_id:
        assert load_team(tmp_path, team=large).team == large
        return
    with pytest.raises(
        StorageError, match="agent_0, agent_1; expected those of the team, agent_0, agent_1, agent_2"
    ):
        load_team(tmp_path, team=large)


def test_an_expert_that_knows_its_team_labels_by_names():
    venv = venv_of("cid", "ann", "bob")
    expert = adapt_expert(OfTeam(venv_of().team), venv.team)
    assert expert.labels(np.asarray(venv.reset())).tolist() == [[2, 0, 1]] * 2
    model = everybodys_post(venv_of().team)
    assert adapt_expert(model, venv.team).labels(np.asarray(venv.reset())).tolist() == [[2, 0, 1]] * 2
    with pytest.raises(
        ExpertError, match=r"OfTeam: of another team: .*dan, eve, fay; expected ann, bob, cid"
    ):
        adapt_expert(OfTeam(venv_of().team), TeamSpaces.from_parallel_env(Strangers()))


def test_a_declared_team_keeps_its_shares_in_another_order():
    right_first, left_first = (
        make_vec_env(CUES, team=TEAM, agents=names, seed=3)
        for names in (("right", "left"), ("left", "right"))
    )
    whole = [undivided_view(venv).observations(venv.reset()) for venv in (right_first, left_first)]
    np.testing.assert_array_equal(*whole)
    packed = np.array([[2, 1]])
    assert undivided_view(right_first).actions(packed).tolist() == [[2, 1]]
    assert undivided_view(left_first).actions(packed).tolist() == [[1, 2]]


def test_changed_messages_are_heard_by_the_agents_of_the_same_names():
    venv = make_vec_env("navigation-comm")
    act = ablate_messages(policy_actor(policy_of(venv.team)), venv.team, "zeroed", np.random.default_rng(0))
    assert act.team == venv.team


RUN = {
    "dagger.n_envs": 2,
    "evaluation.n_final_episodes": 2,
    "evaluation.n_eval_episodes": 2,
    "evaluation.n_envs": 2,
}


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory):
    out = tmp_path_factory.mktemp("whose") / "run"
    env = {"id": f"{HERE}:Posts", "team_reward": "sum"}
    students = {"students.hidden_sizes": [8], "students.share_parameters": True, "dagger.learning_rate": 0.03}
    return cesma_sb3.decentralize(OfTeam, env, total_timesteps=800, out=out, **RUN, **students).run_dir


def test_a_run_is_measured_in_whatever_order_the_environment_has(run_dir):
    assert RunFolder.open(run_dir).agents == NAMES
    for names in (NAMES, ("cid", "ann", "bob"), ("bob", "cid", "ann")):
        report = evaluate_run(
            run_dir, **{"env.kwargs.names": list(names), "expert.algorithm": f"{HERE}:OfTeam"}
        )
        assert report["return"]["students"] == report["return"]["expert"] == 222.0
        assert list(report["agent_return"]["students"].values()) == [2.0, 20.0, 200.0]


def test_a_run_is_not_measured_with_other_agents(run_dir):
    told = "weights belong to the agents ann, bob, cid; expected those of the team, "
    with pytest.raises(StorageError, match=f"{told}bob, ann"):
        evaluate_run(run_dir, **{"env.kwargs.names": ["bob", "ann"], "expert.algorithm": f"{HERE}:OfTeam"})


def test_a_run_that_starts_from_anothers_weights_keeps_its_order(run_dir, tmp_path):
    def started(env: str, names: list[str]) -> Any:
        described = {"id": f"{HERE}:{env}", "team_reward": "sum", "kwargs": {"names": names}}
        like = {"students.hidden_sizes": [8], "students.share_parameters": True, "dagger.batch_size": 64}
        start = {"students.init_from": str(run_dir), **like}
        return cesma_sb3.decentralize(
            lambda seen: np.zeros((len(seen), 3), np.int64),
            described,
            total_timesteps=2,
            out=tmp_path,
            **RUN,
            **start,
        )

    with pytest.raises(StorageError, match="ann, bob, cid; expected those of the team, fay, dan, eve"):
        started("Strangers", ["fay", "dan", "eve"])
    result = started("Posts", ["cid", "bob", "ann"])
    assert RunFolder.open(tmp_path).agents == result.students.team.agents == NAMES
    assert result.report["return"]["students"] == 222.0


def test_a_model_keeps_the_order_of_the_environments_that_it_was_trained_in(tmp_path):
    model = PPO("MlpPolicy", venv_of(unlike=False), n_steps=2, batch_size=2, seed=0)
    wanted = evaluate(
        make_actor(adapt_expert(model, venv_of(unlike=False).team)), venv_of(unlike=False), n_eval_episodes=2
    )

    def decentralized(
        expert: Any, out: str, env: str = "Posts", names: str = "cid ann bob", **more: Any
    ) -> Path:
        described = {"id": f"{HERE}:{env}", "team_reward": "sum", "kwargs": {"names": names.split()}}
        kwargs = {
            **RUN,
            "students.hidden_sizes": [8],
            "dagger.batch_size": 64,
            "expert.deterministic": True,
            **more,
        }
        result = cesma_sb3.decentralize(expert, described, total_timesteps=2, out=tmp_path / out, **kwargs)
        assert result.students.team.agents == RunFolder.open(result.run_dir).agents == NAMES
        assert (
            result.report["return"]["expert"]
            == evaluate_run(result.run_dir)["return"]["expert"]
            == wanted.mean
        )
        return result.run_dir

    told = "its weights belong to the agents ann, bob, cid; expected those of the team, eve, dan, fay"
    first = decentralized(model, "memory")
    file, trusted = first / "expert" / "model.zip", {"algorithm": "PPO", "trust": True}
    decentralized(file, "file", **trusted)
    for expert, more in ((model, {}), (file, trusted)):
        with pytest.raises(StorageError, match=told):
            decentralized(expert, "strangers", "Strangers", "eve dan fay", **more)


def test_a_run_folder_keeps_its_agents(tmp_path):
    folder = RunFolder.create(load_experiment("spread-3"), tmp_path)
    assert folder.agents is None
    folder.keep_agents(("b", "a"))
    folder.keep_agents(("b", "a"))
    again = RunFolder.open(tmp_path)
    assert again.agents == ("b", "a")
    for others in (("a", "b"), ("b", "c"), ("b",)):
        with pytest.raises(
            StorageError, match=f"its agents are b, a; those of the environment are {others[0]}"
        ):
            again.keep_agents(others)
    for spoiled in (5, "ab", [1, 2], {"a": 0}):
        again.info["agents"] = spoiled
        with pytest.raises(StorageError, match=r"run\.json: agents: expected a list of names, got "):
            again.keep_agents(("a", "b"))
