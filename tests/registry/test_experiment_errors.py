"""A wrong experiment: one line that names the file, the key, what is allowed and the nearest name."""

import math

import pytest

from cesma_sb3.config.registry import describe_experiments, list_experiments, load_experiment
from cesma_sb3.config.schema import DaggerConfig, EnvConfig, ExpertConfig, Resets, StudentsConfig
from cesma_sb3.errors import CesmaError, ConfigError, DuplicateNameError, UnknownNameError

MINIMAL = {"env": {"id": "spread"}, "expert": {"algorithm": "scripted", "total_timesteps": 0}}


def problem_of(name, overrides=None, **kwargs):
    with pytest.raises(CesmaError) as caught:
        load_experiment(name, overrides, **kwargs)
    assert len(str(caught.value).splitlines()) == 1
    return str(caught.value)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder that another package registers."""
    monkeypatch.setattr(
        "cesma_sb3.config.registry.entry_points", lambda group: [EntryPoint("other", str(tmp_path))]
    )
    return tmp_path


class EntryPoint:
    value = "other:folder"

    def __init__(self, name, loaded):
        self.name = name
        self.loaded = loaded

    def load(self):
        if isinstance(self.loaded, Exception):
            raise self.loaded
        return self.loaded


@pytest.mark.parametrize(
    ("key", "value", "problem"),
    [
        (
            "expert.n_env",
            3,
            "unknown key; did you mean 'n_envs'? allowed: action_view, algorithm, communicates,",
        ),
        ("experts", {}, "unknown key; did you mean 'expert'? allowed: baseline_of, callbacks,"),
        ("dagger.beta.round", 3, "unknown key; did you mean 'rounds'? allowed:"),
        ("expert.n_envs", "3", "expected an integer, got '3'"),
        ("expert.n_envs", True, "expected an integer, got True"),
        ("expert.n_envs", 2.5, "expected an integer, got 2.5"),
        ("expert.n_envs", 0, "expected more than 0, got 0"),
        ("dagger.total_timesteps", -1, "expected at least 0, got -1"),
        ("dagger.learning_rate", -1e-3, "expected more than 0, got -0.001"),
        ("dagger.learning_rate", math.nan, "expected a finite number, got nan"),
        ("expert.kwargs.tau", math.inf, "expected a finite number, got inf"),
        ("dagger.beta.decay", 1.5, "expected at most 1, got 1.5"),
        (
            "dagger.when_full",
            "reservoirs",
            "unknown value 'reservoirs'; did you mean 'reservoir'? allowed: drop-",
        ),
        ("expert.action_view", 7, "unknown value 7; allowed: joint, product, one-at-a-time, relaxed"),
        (
            "env.team_reward",
            "summ",
            "unknown value 'summ'; did you mean 'sum'? allowed: shared, sum, mean, null",
        ),
        ("env.id", "", "expected text, got ''"),
        ("students.hidden_sizes", 64, "expected a list, got 64"),
        ("students.hidden_sizes", ["a"], "expected an integer, got 'a'"),
        ("students.share_parameters", 1, "expected true or false, got 1"),
        ("seed", -1, "expected at least 0, got -1"),
        ("seed.x", 1, "expected an integer, got {'x': 1}"),
        ("expert", None, "expected a mapping, got None"),
        (
            "expert.policy_kwargs.optimizer_class",
            dict,
            "expected a value that YAML can hold, got <class 'dict'>",
        ),
        (
            "expert",
            {"learning_rate_final": 0.1, "kwargs.learning_rate": None},
            "learning_rate_final: expected a number for kwargs.learning_rate to fall from, got None",
        ),
        ("dagger.min_samples", 10**7, "expected at most capacity "),
        ("name", "other", "an experiment keeps the name of its file"),
        ("extends", "spread-6", "unknown key"),
        ("env.team", {"a": {"observaton": "0"}}, "did you mean 'observation'? allowed: action, observation"),
        ("baseline_of", {"a\nb": math.inf}, "baseline_of.a b: expected a finite number, got inf"),
    ],
)
def test_schema(key, value, problem):
    text = problem_of("spread-3", {key: value}, check_names=False)
    assert text.startswith("override: ")
    assert key.split(".")[0] in text
    assert problem in text


@pytest.mark.parametrize(
    ("key", "value", "problem"),
    [
        (
            "expert.algorithm",
            "ppo",
            "expert.algorithm: unknown algorithm 'ppo'; did you mean 'PPO'? allowed: A2C, ",
        ),
        (
            "expert.algorithm",
            "numpy:random",
            "expert.algorithm: 'numpy:random': module, expected an SB3 algorithm or a controller",
        ),
        ("expert.algorithm", "no_such:A", "expert.algorithm: 'no_such:A': cannot import 'no_such'"),
        ("expert.policy", "MlpPolcy", "expert.policy: unknown policy 'MlpPolcy'; did you mean 'MlpPolicy'?"),
        (
            "expert.kwargs.gamm",
            0.9,
            "expert.kwargs.gamm: unknown argument of ExpectedDDPG 'gamm'; did you mean",
        ),
        (
            "expert.kwargs.env",
            1,
            "expert.kwargs.env: ExpectedDDPG already gets it from the experiment",
        ),
        (
            "expert.policy_kwargs.hidden",
            1,
            "unknown argument of ExpectedPolicy 'hidden'; did you mean 'hidden_s",
        ),
        (
            "students.activation",
            "Relu",
            "students.activation: unknown activation 'Relu'; did you mean 'ReLU'?",
        ),
        ("env.id", "spred", "override: env: unknown particle scenario 'spred'; did you mean 'spread"),
        (
            "env.kwargs.n_agent",
            3,
            "override: env: unknown argument of spread 'n_agent'; did you mean 'n_agents",
        ),
    ],
)
def test_names_of_classes_and_arguments(key, value, problem):
    assert problem in problem_of("spread-3", {key: value})


def test_the_file_is_named_where_the_file_is_wrong(folder):
    (folder / "mine.yaml").write_text(
        "env: {id: spread}\nexpert: {algorithm: scripted, total_timestep: 0}\nseed: -1"
    )
    text = problem_of("mine")
    assert text.startswith(f"{folder}/mine.yaml: ")
    assert text.endswith(" more)")


@pytest.mark.parametrize("missing", ["env", "expert", "dagger"])
def test_missing_keys(missing, tmp_path):
    lines = {"env": "env: {id: spread}", "expert": "expert: {algorithm: scripted, total_timesteps: 0}"}
    lines["dagger"] = "dagger: {total_timesteps: 10}"
    file = tmp_path / "mine.yaml"
    file.write_text("\n".join(line for key, line in lines.items() if key != missing))
    assert problem_of(file) == f"{file}: {missing}: this key is missing"


@pytest.mark.parametrize("name", ["spread3", "../spread-3", "/etc/passwd", "", "spread-3/../spread-3"])
def test_unknown_names(name):
    with pytest.raises(UnknownNameError, match=r"allowed: .*(spread-3|navigation-comm), "):
        load_experiment(name)


def test_files_that_cannot_be_read(tmp_path):
    assert problem_of("no/such.yaml") == "no/such.yaml: no such file"
    (tmp_path / "bytes.yaml").write_bytes(b"\xff\xfe\x00")
    assert "bytes.yaml: cannot be read" in problem_of(tmp_path / "bytes.yaml")
    (tmp_path / "folder.yaml").mkdir()
    assert "folder.yaml: cannot be read" in problem_of(tmp_path / "folder.yaml")
    (tmp_path / "my name.yaml").write_text("extends: spread-3")
    assert "name: expected letters, digits and - _ . only, got 'my name'" in problem_of(
        tmp_path / "my name.yaml"
    )


def test_a_registered_file_is_called_as_its_experiment(folder):
    (folder / "mine.yaml").write_text("extends: spread-3\nname: yours")
    assert problem_of("mine").endswith("mine.yaml: name: expected 'mine', the file's name, got 'yours'")


def test_extends_merges_and_arguments_stay_with_what_they_belong_to(folder):
    (folder / "mine.yaml").write_text(
        "extends: spread-3\nexpert: {algorithm: PPO}\nstudents: {hidden_sizes: [8]}"
    )
    (folder / "more.yaml").write_text("extends: mine\nenv: {kwargs: {n_agents: 4}}")
    mine, more = load_experiment("mine"), load_experiment("more")
    assert mine.expert.kwargs == mine.expert.policy_kwargs == {}
    assert mine.expert.n_envs == load_experiment("spread-3").expert.n_envs
    assert load_experiment("spread-3-maddpg").expert.learning_rate_final < 1
    changed = load_experiment("spread-3-maddpg", {"expert.algorithm": "TeamPPO"})
    assert changed.expert.learning_rate_final == 1  # there is no rate that it could fall from
    assert mine.students.hidden_sizes == more.students.hidden_sizes == (8,)
    assert more.env.kwargs == {**mine.env.kwargs, "n_agents": 4}
    assert mine.description == ""


def test_a_circle_is_refused(folder):
    (folder / "a.yaml").write_text("extends: b")
    (folder / "b.yaml").write_text("extends: a")
    assert problem_of("a").endswith("extends: a circle: a -> b -> a")
    (folder / "c.yaml").write_text("extends: c")
    assert problem_of("c").endswith("extends: a circle: c -> c")
    (folder / "d.yaml").write_text("extends: spread3")
    assert "extends: unknown experiment 'spread3'; did you mean 'spread-3'?" in problem_of("d")
    (folder / "e.yaml").write_text("extends: [a]")
    assert "extends: expected the name of an experiment, got ['a']" in problem_of("e")


def test_overrides_are_nested_or_dotted_and_in_any_order():
    nested = load_experiment("spread-3", {"expert": {"kwargs": {"gamma": 0.8}, "n_envs": 4}})
    dotted = load_experiment("spread-3", {"expert.kwargs.gamma": 0.8, "expert.n_envs": 4})
    mixed = load_experiment("spread-3", {"expert": {"kwargs.gamma": 0.8}, "expert.n_envs": 4})
    assert nested == dotted == mixed
    assert nested.expert.kwargs == {**load_experiment("spread-3").expert.kwargs, "gamma": 0.8}
    changes = {"expert.kwargs.n_steps": 8, "expert.algorithm": "PPO"}
    assert load_experiment("spread-3", changes).expert.kwargs == {"n_steps": 8}
    assert load_experiment("spread-3", dict(reversed(changes.items()))).expert.kwargs == {"n_steps": 8}


def test_other_packages_register_folders(folder, monkeypatch):
    (folder / "mine.yaml").write_text("extends: spread-3-scripted\ndescription: Mine")
    (folder / "notes.txt").write_text("not an experiment")
    assert "mine" in list_experiments()
    assert dict(describe_experiments())["mine"] == "Mine"
    for loaded in (folder, lambda: folder, lambda: str(folder)):
        monkeypatch.setattr(
            "cesma_sb3.config.registry.entry_points", lambda group, it=loaded: [EntryPoint("other", it)]
        )
        assert load_experiment("mine").expert.algorithm == "scripted"


@pytest.mark.parametrize("loaded", [ImportError("no such module"), 3, "/no/such/folder", lambda: 1 / 0])
def test_a_broken_package_is_named(loaded, monkeypatch):
    monkeypatch.setattr("cesma_sb3.config.registry.entry_points", lambda group: [EntryPoint("other", loaded)])
    with pytest.raises(ConfigError, match=r"entry point 'other' of cesma_sb3\.registry") as caught:
        list_experiments()
    assert len(str(caught.value).splitlines()) == 1


def test_a_name_registered_twice_is_refused(folder):
    (folder / "spread-3.yaml").write_text("extends: spread-6")
    with pytest.raises(
        DuplicateNameError, match=rf"'spread-3' is registered twice: by .*spread-3\.yaml and {folder}"
    ):
        list_experiments()


def test_a_broken_file_does_not_hide_the_others(folder):
    (folder / "broken.yaml").write_text("a: [")
    descriptions = dict(describe_experiments())
    assert descriptions["broken"].startswith(f"error: {folder}/broken.yaml: line 1:")
    assert "spread-3" in descriptions


@pytest.mark.parametrize("name", ["n_agents", "args", "idle", "team_size", "reward", "kwarg", "ids", "zzz"])
@pytest.mark.parametrize("part", ["env", "expert"])
def test_arguments_stand_below_kwargs_and_nowhere_else(part, name):
    """However near a name is to a key, or to none: no key of the schema, present or to come, changes that."""
    text = problem_of("spread-3", {f"{part}.{name}": 1}, check_names=False)
    assert text.startswith(f"override: {part}.{name}: unknown key")
    assert text.endswith(f"; an argument is {part}.kwargs.{name}")
    found = load_experiment("spread-3", {f"{part}.kwargs.{name}": 1}, check_names=False).to_mapping()
    assert found[part]["kwargs"][name] == 1


def test_a_part_without_arguments_has_no_such_hint():
    assert "an argument" not in problem_of("spread-3", {"evaluation.episode": 1}, check_names=False)


@pytest.mark.parametrize("schema", [EnvConfig, ExpertConfig, StudentsConfig, DaggerConfig])
def test_a_key_says_which_keys_start_anew_with_it(schema):
    resets = {key: keys for key, field in schema.model_fields.items() if (keys := Resets.of(field))}
    assert resets
    for key, others in resets.items():
        told = schema.model_fields[key].description
        assert all(f"`{each}`" in told and each in schema.model_fields for each in others)


@pytest.mark.parametrize(
    ("key", "value", "other"),
    [
        ("env.id", "rendezvous", "kwargs"),
        ("expert.algorithm", "PPO", "policy_kwargs"),
        ("expert.algorithm", "PPO", "kwargs"),
    ],
)
def test_what_belongs_to_another_value_is_not_kept(key, value, other):
    part, name = key.split(".")
    before = load_experiment("spread-3").to_mapping()[part]
    after = load_experiment("spread-3", {key: value}, check_names=False).to_mapping()[part]
    assert before[other] != after[other]
    assert load_experiment("spread-3", {key: before[name]}).to_mapping()[part] == before


def test_a_file_extends_a_file_beside_it(tmp_path, monkeypatch, folder):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "mine.yaml").write_text("extends: ../base.yaml\nseed: 2")
    (tmp_path / "base.yaml").write_text("extends: spread-3-scripted\nseed: 1\nthreads: 3\ndescription: Base")
    mine = load_experiment("a/mine.yaml", check_names=False)
    assert (mine.name, mine.seed, mine.threads, mine.description) == ("mine", 2, 3, "")
    (tmp_path / "base.yaml").write_text("extends: other.yml")
    assert problem_of("a/mine.yaml") == "a/../other.yml: no such file"
    (tmp_path / "other.yml").write_text("extends: a/mine.yaml")
    assert problem_of("a/mine.yaml").endswith("a circle: mine.yaml -> base.yaml -> other.yml -> mine.yaml")
    (folder / "registered.yaml").write_text("extends: base.yaml")  # of a package: beside it
    (folder / "base.yaml").write_text("extends: spread-3-scripted\nseed: 4")
    assert load_experiment("registered", check_names=False).seed == 4


@pytest.mark.parametrize("name", ["plant-ppo", "spread-33"])
def test_a_file_beside_is_pointed_to(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / f"{name}.yml").write_text("extends: spread-3-scripted")
    assert problem_of(name).endswith(f"; there is a file {name}.yml: did you mean that?")
    (tmp_path / f"{name}.yml").unlink()
    assert "there is a file" not in problem_of(name)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("{}", "env, expert, dagger: these keys are missing"),
        ("env: {id: spread}\nexpert: {n_envs: 3}", "expert.algorithm, dagger: these keys are missing"),
        ("enw: {id: spread}", "enw: unknown key; did you mean 'env'? allowed: "),
        (
            "env: {}\nexpert: {algorithm: 3}\ndagger: {}",
            "env.id, dagger.total_timesteps: these keys are missing",
        ),
    ],
)
def test_all_missing_keys_are_named_at_once(text, told, tmp_path):
    (tmp_path / "mine.yaml").write_text(text)
    problem = problem_of(tmp_path / "mine.yaml")
    assert told in problem
    if "unknown key" in told:
        assert problem.endswith("; missing: env, expert, dagger")
    else:
        assert "begins with `extends: NAME`" in problem


@pytest.mark.parametrize(("given", "kept"), [(0, "0"), (3, "3"), ("0:2, 4", "0:2, 4")])
def test_columns_may_be_numbers(given, kept):
    team = {"a": {"observation": given, "action": given}}
    found = load_experiment("spread-3-scripted", {"env.team": team}, check_names=False).env.team["a"]
    assert (found.observation, found.action) == (kept, kept)
    for wrong in (True, 1.5, [0]):
        problem = problem_of(
            "spread-3-scripted", {"env.team": {"a": {"observation": "0", "action": wrong}}}, check_names=False
        )
        assert "env.team.a.action: expected text, got " in problem
