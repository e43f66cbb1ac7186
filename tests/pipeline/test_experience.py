"""Students that learn from what their expert has visited, without a sample of their own or with a few."""

import csv

import numpy as np
import pytest

import cesma_sb3
from cesma_sb3 import cli
from cesma_sb3.analysis.html_report import write_html_report
from cesma_sb3.analysis.price import price
from cesma_sb3.analysis.run_data import read_run
from cesma_sb3.config.registry import load_experiment
from cesma_sb3.errors import CesmaWarning, ConfigError
from cesma_sb3.training import stages
from cesma_sb3.training.context import RunContext
from tests.faults.interrupted import results

EVALUATION = {"n_final_episodes": 8, "n_eval_episodes": 4, "eval_freq": 80, "n_envs": 4}
TINY = {
    "evaluation": EVALUATION,
    "students": {"network": "feed-forward", "hidden_sizes": [8]},
    "dagger.total_timesteps": 0,
    "dagger.experience": {},
    "dagger.n_envs": 8,
    "dagger.batch_size": 16,
    "dagger.samples_per_update": 8,
    "expert.n_envs": 8,
    "expert.total_timesteps": 160,
}
OFF_POLICY = {
    "expert.kwargs.learning_starts": 64,
    "expert.kwargs.batch_size": 16,
    "expert.kwargs.gradient_steps": 1,
}
ON_POLICY = {"expert.kwargs": {"n_steps": 10, "batch_size": 40, "n_epochs": 1}}
NARROW = {"expert.policy_kwargs.hidden_sizes": [8]}
MASKED = {
    **ON_POLICY,
    "expert.algorithm": "MaskablePPO",
    "expert.policy": "MlpPolicy",
    "expert.action_view": "joint",
    "expert.policy_kwargs": {"net_arch": [8]},
}
BASE = "spread-3-gumbel-softmax"
KINDS = {
    "off policy": ("spread-3", {**OFF_POLICY, **NARROW}),
    "the paper's": (BASE, {**OFF_POLICY, **NARROW}),
    "on policy": ("spread-3-ppo", {**ON_POLICY, "expert.policy_kwargs": {"net_arch": [8]}}),
    "as one choice": ("spread-3-dqn", {**OFF_POLICY, "expert.policy_kwargs": {"net_arch": [8]}}),
    "one at a time": ("spread-6-one-at-a-time", {**OFF_POLICY, **NARROW, "env.kwargs.n_agents": 2}),
    "continuous": ("spread-3-continuous", OFF_POLICY),
    "random search": (
        "spread-3-ppo",
        {
            "env.kwargs.max_cycles": 10,
            "expert.algorithm": "ARS",
            "expert.policy": "LinearPolicy",
            "expert.action_view": "product",
            "expert.total_timesteps": 900,
            "expert.kwargs": {"n_delta": 1, "learning_rate": 0.2, "delta_std": 0.3, "n_eval_episodes": 3},
            "expert.policy_kwargs": {},
        },
    ),
    "an expert with a memory": (
        "spread-3-ppo",
        {
            **ON_POLICY,
            "env.kwargs.max_cycles": 7,
            "expert.algorithm": "RecurrentPPO",
            "expert.policy": "MlpLstmPolicy",
            "expert.policy_kwargs": {"net_arch": [8], "lstm_hidden_size": 8},
        },
    ),
    "students with a memory": (
        BASE,
        {
            **OFF_POLICY,
            **NARROW,
            "env.kwargs.max_cycles": 7,
            "students": {"network": "recurrent", "hidden_sizes": [8]},
            "dagger.batch_size": 4,
        },
    ),
    "messages": ("speaker-listener", {**OFF_POLICY, **NARROW}),
    "masks": (
        BASE,
        {
            **MASKED,
            "env": {
                "id": "tests.envs_for_tests:MortalEnv",
                "kwargs": {"masks": "info"},
                "team_reward": "sum",
            },
        },
    ),
    "masks and messages, in a process": (
        BASE,
        {**MASKED, "env": {"id": "tests.envs_for_tests:TalkAndMove", "processes": 1}},
    ),
    "to be followed": (
        "spread-3-ppo",
        {
            **ON_POLICY,
            "expert.policy_kwargs": {"net_arch": [8]},
            "expert.information_cost": {"weight": 0.5},
            "expert.keep": "last",
        },
    ),
    "soft labels": (
        "spread-3-ppo",
        {**ON_POLICY, "expert.policy_kwargs": {"net_arch": [8]}, "dagger.labels": "soft"},
    ),
    "little room": (BASE, {**OFF_POLICY, **NARROW, "dagger.capacity": 50}),
}


@pytest.fixture
def opened(monkeypatch):
    """How many environments are opened for training, in all."""
    found, make_env = [], RunContext.make_env

    def counted(self, n_envs, *args):
        found.append(n_envs)
        return make_env(self, n_envs, *args)

    monkeypatch.setattr(RunContext, "make_env", counted)
    return found


@pytest.fixture
def labelled(monkeypatch):
    """The experience that students began with."""
    found, begin = [], stages._begin_dataset

    def seen(trainer, config, experience):
        begin(trainer, config, experience)
        found.append((experience, trainer.dataset))

    monkeypatch.setattr(stages, "_begin_dataset", seen)
    return found


def evaluations(run, stage="students"):
    """Samples and gradient steps at each evaluation of a stage."""
    with (run / "evaluations.csv").open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["stage"] == stage]
    return [(int(row["env_samples"]), row["updates"] and int(row["updates"])) for row in rows]


@pytest.mark.parametrize("kind", KINDS)
def test_students_without_a_sample_of_their_own(kind, tmp_path, opened, labelled):
    name, values = KINDS[kind]
    result = cesma_sb3.run(name, out=tmp_path / "run", **{**TINY, **values})
    report = result.report
    samples = report["env_samples"]["expert"]
    assert report["env_samples"] == {"expert": samples, "decentralize": 0}
    assert opened == [8], "the expert's environments alone"
    ((experience, dataset),) = labelled
    assert experience.team == result.students.team
    assert report["experience"]["decentralize"] == len(experience)
    if kind == "little room":
        assert len(experience) == 48
    elif (
        kind == "random search"
    ):  # sb3-contrib counts a step several times where several episodes are under way
        assert {steps.stop - steps.start for _, steps in experience.episodes()} == {10}
    else:  # every state that the environments showed, from the reset on
        assert len(experience) == samples + 8
    if kind == "students with a memory":
        assert len(dataset) == 7 * len(experience.episodes()) == 2 * 8 * 7
    elif kind == "messages" or kind.startswith("an expert with"):
        assert len(dataset) == len(experience), "nothing is lost where all began in the training"
    updates = len(dataset) // 8
    assert report["updates"] == {"decentralize": updates}
    points = evaluations(result.run_dir)
    expected = [(samples, at) for at in range(0, updates + 1, 10)]
    assert points == expected + [(samples, updates)] * (updates % 10 > 0)
    assert {updates for _, updates in evaluations(result.run_dir, "expert")} == {""}
    assert not report["stopped_early"]
    assert not any("not one gradient step" in note for note in report.get("notes", ()))
    assert np.isfinite(report["return"]["students"])


def test_recording_changes_nothing_of_the_expert(tmp_path):
    """Nor does a key that is not used change the students."""
    weights = {}
    name, values = KINDS["off policy"]
    for experience in ({}, None):
        out = tmp_path / str(experience)
        changes = {**TINY, **values, "dagger.total_timesteps": 80, "dagger.experience": experience}
        report = cesma_sb3.run(name, out=out, **changes).report
        weights[str(experience)] = (out / "expert" / "policy.safetensors").read_bytes()
        assert (report["experience"]["decentralize"] > 0) is (experience is not None)
    assert weights["{}"] == weights["None"]
    assert report["updates"] == {"decentralize": 9}  # from nothing: the first with a batch of 16
    assert evaluations(out) == [(160, 0), (240, 9)]
    scripted = {key: value for key, value in TINY.items() if not key.startswith("expert")}
    scripted["dagger.total_timesteps"] = 80
    for experience in ({}, None):
        out = tmp_path / f"scripted {experience}"
        cesma_sb3.run("spread-3-scripted", out=out, **{**scripted, "dagger.experience": experience})
    assert results(tmp_path / "scripted {}") == results(tmp_path / "scripted None")


@pytest.mark.parametrize("kind", ["off policy", "messages", "students with a memory"])
def test_behavioural_cloning_of_what_was_visited_is_dagger_without_a_timestep(kind, tmp_path):
    name, values = KINDS[kind]
    for algorithm in ("bc", "dagger"):
        changes = {**TINY, **values, "dagger.algorithm": algorithm}
        report = cesma_sb3.run(name, out=tmp_path / algorithm, **changes).report
        assert report["env_samples"]["decentralize"] == 0
        assert report["experience"]["decentralize"] > 0
    assert results(tmp_path / "bc") == results(tmp_path / "dagger")


def test_behavioural_cloning_of_a_finished_expert_begins_with_what_it_visits(tmp_path):
    values = {key: value for key, value in TINY.items() if not key.startswith("expert")}
    values |= {"dagger.algorithm": "bc", "dagger.experience": {"rollout_timesteps": 80}}
    report = cesma_sb3.run("spread-3-scripted", out=tmp_path / "run", **values).report
    assert report["env_samples"] == {"expert": 0, "decentralize": 80}
    assert report["updates"] == {"decentralize": 10}
    values |= {"dagger.total_timesteps": 80, "dagger.algorithm_kwargs": {"final_updates": 3}}
    report = cesma_sb3.run("spread-3-scripted", out=tmp_path / "more", **values).report
    assert report["env_samples"] == {"expert": 0, "decentralize": 160}
    assert report["updates"] == {"decentralize": 10 + 10 + 3}


@pytest.mark.parametrize("algorithm", ["forward-training", "smile", "searn"])
def test_who_learns_from_states_of_its_own_says_so_and_learns_from_them(algorithm, tmp_path):
    name, values = KINDS["off policy"]
    values = {**TINY, **values, "dagger.algorithm": algorithm, "env.kwargs.max_cycles": 5}
    told = f"for {algorithm} learns from the states that its own teams lead to, not from experience"
    with pytest.raises(ConfigError, match=told):
        cesma_sb3.run(name, out=tmp_path / "run", **values)
    if algorithm != "forward-training":
        values["dagger.algorithm_kwargs"] = {"n_iterations": 2}
    report = cesma_sb3.run(name, out=tmp_path / "run", **{**values, "dagger.total_timesteps": 160}).report
    assert report["experience"] == {"decentralize": 0}
    assert report["env_samples"]["decentralize"] >= 120


@pytest.mark.parametrize("kind", ["off policy", "masks", "little room"])
def test_a_run_keeps_what_was_visited_if_it_is_asked_to(kind, tmp_path, labelled):
    """Nothing else of it changes, and students of another run learn the same from the file."""
    name, values = KINDS[kind]
    values = {**TINY, **values}
    file = "expert/experience.safetensors"
    for saves in (True, False):
        out = tmp_path / str(saves)
        cesma_sb3.run(name, out=out, **{**values, "dagger.experience.save": saves})
        assert (out / file).is_file() is saves
    kept = results(tmp_path / "True")
    del kept[file]
    assert kept == results(tmp_path / "False")
    experience, dataset = labelled[0]
    values |= {"expert.total_timesteps": 0, "expert.experience": str(tmp_path / "True" / file)}
    again = cesma_sb3.run(
        name, out=tmp_path / "again", **{**values, "expert.init_from": str(tmp_path / "True")}
    )
    found, learned = labelled[-1]
    for one, other in zip(found.states(), experience.states(), strict=True):
        np.testing.assert_array_equal(one, other)
    for key, array in learned.rows.arrays.items():
        np.testing.assert_array_equal(array[: len(learned)], dataset.rows.arrays[key][: len(dataset)])
    assert again.report["env_samples"] == {"expert": 0, "decentralize": 0}


def test_an_expert_with_a_memory_needs_the_beginning_of_an_episode(tmp_path):
    """The newest 16 of 40 vector steps do not hold one of 50: nothing is learned, and a warning says so."""
    name, values = KINDS["an expert with a memory"]
    values = {**TINY, **values, "env.kwargs.max_cycles": 50, "dagger.capacity": 128}
    with pytest.warns(CesmaWarning, match="or none had its beginning, which experts with a memory"):
        report = cesma_sb3.run(name, out=tmp_path / "run", **{**values, "expert.total_timesteps": 320}).report
    assert report["updates"] == {"decentralize": 0}


def test_students_with_a_memory_need_a_whole_episode(tmp_path):
    """No episode of 25 steps ends within 20: nothing is learned, and a warning says so."""
    name, values = KINDS["students with a memory"]
    with pytest.warns(CesmaWarning, match="or no episode was whole, and these students have a memory"):
        report = cesma_sb3.run(
            name, out=tmp_path / "run", **{**TINY, **values, "env.kwargs.max_cycles": 25}
        ).report
    assert report["updates"] == {"decentralize": 0}
    assert any("no episode was whole" in note for note in report["notes"])


def test_only_what_is_missing_is_collected(tmp_path):
    name, values = KINDS["off policy"]
    changes = {
        "dagger.total_timesteps": 5_000,
        "dagger.experience.n_updates": 35,
        "dagger.early_stopping_evaluations": 2,
        "dagger.early_stopping_tolerance": 5.0,
    }
    result = cesma_sb3.run(name, out=tmp_path / "run", **{**TINY, **values, **changes})
    assert result.report["stopped_early"]
    assert result.report["env_samples"]["decentralize"] == 0
    assert evaluations(result.run_dir) == [(160, 0), (160, 10)]  # the second one in a row that matches
    later = {**changes, "dagger.early_stopping_evaluations": 6}
    result = cesma_sb3.run(name, out=tmp_path / "later", **{**TINY, **values, **later})
    assert evaluations(result.run_dir) == [(160, 0), (160, 10), (160, 20), (160, 30), (240, 45), (320, 55)]
    assert result.report["env_samples"]["decentralize"] == 160


def test_what_a_finished_expert_visits_itself_are_samples(tmp_path, opened):
    values = {key: value for key, value in TINY.items() if not key.startswith("expert")}
    rollouts = {"dagger.experience": {"rollout_timesteps": 100, "n_updates": 12}}
    result = cesma_sb3.run("spread-3-scripted", out=tmp_path / "run", **{**values, **rollouts})
    assert opened == [8]
    assert result.report["env_samples"] == {"expert": 0, "decentralize": 104}  # 13 steps of 8
    assert result.report["updates"] == {"decentralize": 12}
    assert result.report["experience"] == {"decentralize": 0}
    assert evaluations(result.run_dir) == [(0, 0), (104, 10), (104, 12)]
    # Where the expert is trained in the run there is no need.
    name, more = KINDS["off policy"]
    report = cesma_sb3.run(name, out=tmp_path / "trained", **{**TINY, **more, **rollouts}).report
    assert report["env_samples"] == {"expert": 160, "decentralize": 0}


def test_progress_counts_what_a_finished_expert_visits(tmp_path, capsys):
    values = {key: value for key, value in TINY.items() if not key.startswith("expert")}
    values |= {"dagger.experience": {"rollout_timesteps": 80, "n_updates": 2}, "dagger.total_timesteps": 80}
    cesma_sb3.run("spread-3-scripted", out=tmp_path / "run", progress=True, **values)
    lines = capsys.readouterr().err.splitlines()
    n_episodes = values["evaluation"]["n_final_episodes"]
    assert f"expert: evaluated in {n_episodes} episodes before the students learn" in lines
    assert "students: 160 steps" in lines
    assert any(line.startswith("students: done after 160 steps") for line in lines)


@pytest.mark.parametrize(("budget", "told"), [(40, True), (80, False)])
def test_a_rollout_beyond_the_budget_is_announced(budget, told, tmp_path, capsys):
    name, values = KINDS["on policy"]
    tuning = {
        "total_timesteps": budget,
        "n_envs": 8,
        "kwargs": {"n_steps": 10, "batch_size": 40, "n_epochs": 1},
    }
    values = {**TINY, **values, "expert.total_timesteps": budget, "fine_tuning": tuning}
    cesma_sb3.run(name, out=tmp_path / "run", progress=True, **values)
    lines = capsys.readouterr().err.splitlines()
    for section in ("expert", "fine_tuning"):
        line = (
            f"{section}: one rollout is 80 steps, {section}.kwargs.n_steps 10 in 8 environments: more than "
            f"{section}.total_timesteps, {budget}"
        )
        assert (line in lines) is told


def test_a_function_is_decentralized_by_what_it_visits(tmp_path):
    def scripted(observations):
        return np.zeros((len(observations), 3), dtype=np.int64)

    values = {
        "evaluation": EVALUATION,
        "dagger.n_envs": 8,
        "dagger.batch_size": 16,
        "dagger.samples_per_update": 8,
    }
    with pytest.raises(ConfigError, match=r"^dagger.total_timesteps: 0, and this expert has no experience"):
        cesma_sb3.decentralize(scripted, "spread", total_timesteps=0, out=tmp_path / "run", **values)
    assert not (tmp_path / "run").exists()
    rollouts = {"dagger.experience.rollout_timesteps": 80}
    result = cesma_sb3.decentralize(
        scripted, "spread", total_timesteps=0, out=tmp_path / "run", **values, **rollouts
    )
    assert result.report["env_samples"] == {"expert": 0, "decentralize": 80}
    assert result.report["updates"] == {"decentralize": 10}


@pytest.mark.parametrize("name", ["spread-3-scripted", "spread-3"])
def test_zero_timesteps_need_something_to_learn_from(name, tmp_path):
    values = {key: value for key, value in TINY.items() if not key.startswith("expert")}
    if name == "spread-3":
        values |= {"expert.total_timesteps": 0, "expert.n_envs": 8}
    told = (
        r"^dagger.total_timesteps: 0, and this expert has no experience to learn from; expected more, "
        r"dagger.experience.rollout_timesteps, or a file expert.experience$"
    )
    with pytest.raises(ConfigError, match=told):
        cesma_sb3.run(name, out=tmp_path / "run", **values)
    assert not (tmp_path / "run").exists()


def test_the_memory_of_the_experience_is_counted(monkeypatch, tmp_path):
    """Of an expert that is trained, and of one whose rollouts are labelled."""
    size = 18 * 3 * 4 + 3
    expected = 168 * (size + 3 * 8) + 160 * (size + 1)
    assert load_experiment("spread-3").env.kwargs["n_agents"] == 3
    for budget, refused in ((expected, False), (expected - 1, True)):
        monkeypatch.setattr("cesma_sb3.training.dataset_size.memory", lambda budget=budget: budget)
        name, values = KINDS["off policy"]
        values = {**TINY, **values, "dagger.total_timesteps": 1, "dagger.n_envs": 8}
        if refused:
            with pytest.raises(ConfigError, match=r"dagger.capacity 200000: the dataset would take up to"):
                cesma_sb3.run(name, out=tmp_path / "refused", **values)
        else:
            cesma_sb3.run(name, out=tmp_path / "run", **values)
    scripted = {key: value for key, value in TINY.items() if not key.startswith("expert")}
    scripted["dagger.experience.rollout_timesteps"] = 160
    monkeypatch.setattr("cesma_sb3.training.dataset_size.memory", lambda: 160 * (size + 3 * 8) + 100)
    with pytest.raises(ConfigError, match=r"dagger.capacity 200000: the dataset would take up to"):
        cesma_sb3.run("spread-3-scripted", out=tmp_path / "scripted", **scripted)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A finished run whose students have no sample of their own."""
    name, values = KINDS["off policy"]
    values = {**TINY, **values, "dagger.experience.n_updates": 250}
    return cesma_sb3.run(name, out=tmp_path_factory.mktemp("runs") / "run", **values).run_dir


def test_its_price_is_that_of_as_many_samples_as_were_learned_from(run):
    found = price(run)
    assert found.settings["timesteps"] == 168
    rows = {(row.name, row.agent): row for row in found.rows}
    parts = [
        rows[f"lost to {what}", "agent_0"].value
        for what in ("fitting", "partial observation", "the choice of weights")
    ]
    assert sum(parts) == pytest.approx(rows["loss", "agent_0"].value)
    hindsight = rows["mu_N: best in hindsight, at most", None]
    assert hindsight.value is None
    assert "of no round" in hindsight.how


def test_its_page_and_its_comparison(run, tmp_path, capsys):
    page = write_html_report([run], out=tmp_path / "page.html", episodes=0).read_text()
    assert "decentralize" in page
    data = read_run(run)
    assert data.curve("students", after_expert=True)[0][0] == 160
    assert [point.samples for point in data.losses["agent_0"]] == [0, 0, 0]  # logged every 100 updates
    assert (data.cost("env_samples", "students", with_expert=False)) == 0
    cesma_sb3.compare([run], out=tmp_path / "comparison")
    assert (tmp_path / "comparison" / "compare.csv").is_file()
    with pytest.raises(SystemExit) as ended:
        cli.main(["evaluate", str(run), "--episodes", "4"])
    assert ended.value.code == 0
    assert "students" in capsys.readouterr().out


def test_progress_counts_updates_where_there_are_no_timesteps(tmp_path, capsys):
    name, values = KINDS["off policy"]
    cesma_sb3.run(name, out=tmp_path / "run", progress=True, **{**TINY, **values})
    err = capsys.readouterr().err
    assert "students: 21 updates" in err
    assert "done after 21 updates" in err
