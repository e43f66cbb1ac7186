"""What a run folder brings along runs only if the user made it, or says so: at every door."""

import json
import shutil
import sys
from functools import partial
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest
import yaml

from cesma_sb3.analysis.comparison.systems import read_folder
from cesma_sb3.analysis.html_report import write_html_report
from cesma_sb3.analysis.price import price
from cesma_sb3.analysis.recording import record_episodes
from cesma_sb3.analysis.video import write_video
from cesma_sb3.config.registry import load_experiment
from cesma_sb3.deploy.export import export
from cesma_sb3.deploy.hub import push_to_hub, write_published
from cesma_sb3.errors import CesmaError, UntrustedError
from cesma_sb3.multirun.tuning import study as study_module
from cesma_sb3.multirun.tuning.study import tune
from cesma_sb3.training import run_folder, trust
from cesma_sb3.training.evaluate_run import evaluate_run
from cesma_sb3.training.run import run
from cesma_sb3.training.run_folder import RunFolder
from cesma_sb3.utils import modules, plugins

HOSTILE = "hostile_module:Thing"
CLASSES = {
    "env.id": {"env": {"id": HOSTILE, "kwargs": {}}},
    "expert.algorithm": {"expert": {"algorithm": HOSTILE}},
    "expert.policy": {"expert": {"policy": HOSTILE}},
    "students.module": {"students": {"network": "custom", "module": HOSTILE}},
    "dagger.loss_class": {"dagger": {"loss_class": HOSTILE}},
}
DOORS = {
    "run": lambda folder, **trust: run(resume=folder, **trust),
    "run with values": lambda folder, **trust: run(resume=folder, seed=0, **trust),
    "evaluate_run": evaluate_run,
    "evaluate_run elsewhere": lambda folder, **trust: evaluate_run(folder, **trust, **{"env.max_steps": 5}),
    "price": price,
    "record": record_episodes,
    "video": write_video,
    "report": lambda folder, **trust: write_html_report([folder], **trust),
}
OF_STUDENTS = {
    "export": export,
    "push": lambda folder, **trust: push_to_hub(folder, "user/name", **trust),
    "push to a folder": lambda folder, **trust: write_published(folder, "published", **trust),
}
OF_EXPERTS = {
    "tune": lambda folder, **trust: tune("spread-3", trials=1, expert=folder, out="study", **trust),
}


@pytest.fixture
def here(tmp_path, monkeypatch):
    """The current folder, where a module lies that leaves a mark when it is imported."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)  # as for whoever types python -m
    monkeypatch.delitem(sys.modules, "hostile_module", raising=False)
    (tmp_path / "hostile_module.py").write_text("import pathlib\npathlib.Path('executed').touch()\n")
    return tmp_path


@pytest.fixture
def copied(finished_run, here):
    return Path(shutil.copytree(finished_run, here / "RUN"))


def change(folder, values):
    """Puts other values into a run's configuration, as somebody with an editor does."""
    content = yaml.safe_load((folder / "config.yaml").read_text())
    for section, inner in values.items():
        content[section] |= inner
    (folder / "config.yaml").write_text(yaml.safe_dump(content))


def refused(door, folder, *what):
    """Whether a door asks, in one line that says what would run, and nothing has run."""
    with pytest.raises(UntrustedError, match=r"expected trust=True \(--trust\)") as error:
        door(folder)
    line = str(error.value)
    assert "\n" not in line
    assert all(part in line for part in (str(folder), *what)), line
    assert not Path("executed").exists()


def test_every_door_asks(copied):
    change(copied, CLASSES["env.id"])
    (copied / "report.json").rename(copied / "report")
    for name in ("run", "run with values"):
        refused(DOORS[name], copied, f"{HOSTILE} (env.id)")
    (copied / "report").rename(copied / "report.json")
    for name, door in DOORS.items():
        if not name.startswith("run"):
            refused(door, copied, f"{HOSTILE} (env.id)")


def test_doors_of_students_and_experts_ask(copied):
    change(copied, CLASSES["students.module"])
    for door in OF_STUDENTS.values():
        refused(door, copied, f"{HOSTILE} (students.module)")
    change(copied, CLASSES["expert.policy"])
    for door in OF_EXPERTS.values():
        refused(door, copied, f"{HOSTILE} (expert.policy)")


@pytest.mark.parametrize("key", CLASSES)
def test_every_key_that_names_code_is_asked_about(key, copied):
    change(copied, CLASSES[key])
    refused(evaluate_run, copied, f"{HOSTILE} ({key})")


NAMED_OTHERWISE = {
    "a battle's argument": {"env": {"id": "smac-3m", "kwargs": {"target": f"smac-like:{HOSTILE}"}}},
    "a loss without a class": {"dagger": {"loss_class": "hostile_module"}},
    "networks without a class": {"students": {"network": "custom", "module": "hostile_module"}},
}


@pytest.mark.parametrize("name", NAMED_OTHERWISE)
def test_no_argument_and_no_half_a_name_is_a_way_round(name, copied):
    change(copied, NAMED_OTHERWISE[name])
    with pytest.raises(CesmaError):
        evaluate_run(copied)
    use = partial(export, format="torchscript") if name == "networks without a class" else record_episodes
    with pytest.raises(CesmaError):
        use(copied)
    assert not Path("executed").exists()


def test_a_file_that_nobody_can_compare_is_another(tmp_path):
    (tmp_path / "model.zip").write_bytes(b"mine")
    path = {"expert.algorithm": "PPO", "expert.path": str(tmp_path / "model.zip"), "expert.trust": True}
    experiment = load_experiment("spread-3-scripted", path)
    folder = RunFolder.create(experiment, tmp_path / "run")
    folder.keep("expert/model.zip", tmp_path / "model.zip")
    (tmp_path / "model.zip").unlink()
    assert RunFolder.open(folder.path).is_of(experiment)
    (folder.path / "signature.json").unlink()
    assert "is not there" in RunFolder.open(folder.path).differences(experiment)[0]


def test_what_cannot_be_looked_into_is_nobodys(experiment, tmp_path):
    folder = RunFolder.create(experiment, tmp_path / "own")
    folder.write_with("expert/model.zip", lambda path: path.write_bytes(b"a"))
    (folder.path / "expert" / "other.zip").symlink_to("nowhere")
    assert not RunFolder.open(folder.path).is_own


def test_a_study_that_was_not_made_here_is_asked_about(tmp_path):
    study = tmp_path / "study"
    with study_module._in_folder(study, "s", "journal:///", trust=False):
        (study / "study.journal").touch()
    with study_module._in_folder(study, "s", f"journal:///{study}/study.journal", trust=False):
        pass
    (study / "signature.json").unlink()
    again = study_module._in_folder(study, "s", f"journal:///{study}/study.journal", trust=False)
    with pytest.raises(UntrustedError, match=r"expected trust=True \(--trust\)"), again:
        pass
    with study_module._in_folder(study, "s", f"journal:///{study}/study.journal", trust=True):
        pass


@pytest.mark.parametrize("key", ["env.id", "expert.algorithm"])
def test_with_trust_it_runs(key, copied):
    """The tests above could fail: the module is found, and imported by whoever says so."""
    change(copied, CLASSES[key])
    with pytest.raises(Exception, match="Thing"):
        evaluate_run(copied, trust=True)
    assert Path("executed").exists()


def test_a_value_of_the_users_takes_the_place_of_what_would_run(copied):
    change(copied, {"env": {"id": HOSTILE}})
    assert evaluate_run(copied, episodes=2, **{"env.id": "spread", "env.kwargs.n_agents": 3})["episodes"] == 2
    assert not Path("executed").exists()


def test_numbers_are_read_without_being_asked(copied):
    change(copied, CLASSES["env.id"])
    assert len(read_folder(copied.parent)[0]) == 1
    write_html_report([copied], episodes=0)
    export(copied, format="torchscript")  # of networks that this package makes
    assert not Path("executed").exists()


def test_ones_own_runs_are_not_asked_about(experiment, tmp_path):
    own = RunFolder.create(experiment, tmp_path / "own")
    own.write_with("expert/model.zip", lambda path: path.write_bytes(b"a"))
    own.write_folder("students", {"team.json": b"{}", "team.safetensors": b""})
    own.write_folder("students", {"team.json": b"[]", "team.safetensors": b""})
    moved = (tmp_path / "own").rename(tmp_path / "moved")
    assert RunFolder.open(moved).is_own
    (moved / "students/team.safetensors").write_bytes(b"weights run nothing")
    (moved / "report.json").write_text("{}")
    assert RunFolder.open(moved).is_own
    again = RunFolder.open(moved)
    again.write_with("expert/model.zip", lambda path: path.write_bytes(b"b"))
    assert RunFolder.open(moved).is_own


@pytest.fixture
def experiment():
    return load_experiment("spread-3-scripted", {"env.id": HOSTILE}, check_names=False)


def edited(folder):
    with (folder / "config.yaml").open("a") as file:
        file.write("\n")


CHANGES = {
    "edited": edited,
    "unsigned": lambda folder: (folder / "signature.json").unlink(),
    "another file": lambda folder: (folder / "expert" / "model.zip").write_bytes(b"c"),
    "a further file": lambda folder: (folder / "expert" / "network.pt").write_bytes(b"c"),
    "a signature that is none": lambda folder: (folder / "signature.json").write_text("[1]"),
    "a signature of somebody else's": lambda folder: (folder / "signature.json").write_text(
        json.dumps({**json.loads((folder / "signature.json").read_text()), "hmac": "0" * 64})
    ),
}


@pytest.mark.parametrize("name", CHANGES)
def test_what_was_changed_is_ones_own_no_more(name, experiment, tmp_path):
    folder = RunFolder.create(experiment, tmp_path / "own")
    folder.write_with("expert/model.zip", lambda path: path.write_bytes(b"a"))
    CHANGES[name](folder.path)
    changed = RunFolder.open(folder.path)
    assert not changed.is_own
    changed.write_with("expert/model.zip", lambda path: path.write_bytes(b"d"))
    assert not RunFolder.open(folder.path).is_own  # whoever goes on with it does not sign it
    with pytest.raises(UntrustedError, match=rf"it was not made here.* would run {HOSTILE} \(env\.id\)"):
        changed.load()


def test_of_another_user(experiment, tmp_path, monkeypatch):
    path = RunFolder.create(experiment, tmp_path / "own").path
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "theirs"))
    assert not RunFolder.open(path).is_own
    secret = tmp_path / "theirs" / "cesma_sb3" / "secret"
    assert secret.stat().st_mode & 0o777 == 0o600
    assert [each.name for each in secret.parent.iterdir()] == ["secret"]


def test_where_no_secret_can_be_kept(experiment, tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "file"))
    path = RunFolder.create(experiment, tmp_path / "own").path
    assert not (path / "signature.json").exists()
    with pytest.raises(
        UntrustedError, match="no secret can be kept here to know one's own runs by, and would"
    ):
        RunFolder.open(path).load()


@pytest.mark.parametrize(
    ("values", "code"),
    [
        ({"env.id": "pettingzoo.sisl.pursuit_v4"}, {}),
        ({"env.id": "mpe2.simple_spread_v3:parallel_env"}, {}),
        ({"env.id": "gymnasium:make", "env.kwargs": {"id": "CartPole-v1"}}, {}),
        ({"env.id": "gymnasium:make", "env.kwargs": {"id": "module:Any-v0"}}, {"env.id": "gymnasium:make"}),
        (
            {"env.id": "gymnasium:make", "env.kwargs": {"id": "GymV26Environment-v0"}},
            {"env.id": "gymnasium:make"},
        ),
        (
            {"env.id": "cesma_sb3.envs.factory:make_parallel_env"},
            {"env.id": "cesma_sb3.envs.factory:make_parallel_env"},
        ),
        (
            {"env.id": "cesma_sb3.envs.smac:battle_env"},
            {"env.id": "cesma_sb3.envs.smac:battle_env"},
        ),
        ({"env.id": "smac-like:os:system"}, {"env.id": "smac-like:os:system"}),
        ({"env.id": "pettingzoo.utils.env:os"}, {"env.id": "pettingzoo.utils.env:os"}),
        ({"env.id": "os.system"}, {"env.id": "os.system"}),
        ({"expert.algorithm": "stable_baselines3:PPO"}, {}),
        ({"expert.algorithm": "sb3_contrib.ppo_mask:MaskablePPO"}, {}),
        (
            {"expert.algorithm": "stable_baselines3.common.logger:HumanOutputFormat"},
            {"expert.algorithm": "stable_baselines3.common.logger:HumanOutputFormat"},
        ),
        ({"expert.policy": "stable_baselines3.common.policies:ActorCriticPolicy"}, {}),
        ({"callbacks": [{"name": "stable_baselines3.common.callbacks:ConvertCallback"}]}, {}),
        ({"callbacks": [{"name": "os:system"}]}, {"callbacks.0.name": "os:system"}),
        ({"env.wrappers": [{"name": "black_death_v3"}]}, {}),
        ({"env.wrappers": [{"name": "os:system"}]}, {"env.wrappers.0.name": "os:system"}),
        ({"expert": {"algorithm": "onnx", "path": "a.onnx"}}, {}),
        (
            {"expert": {"algorithm": "torchscript", "path": "a.pt", "trust": True}},
            {"expert.path": "expert/network.pt"},
        ),
        (
            {"expert": {"algorithm": "PPO", "path": "a", "normalization": "b"}},
            {"expert.path": "expert/model.zip", "expert.normalization": "expert/normalization.pkl"},
        ),
    ],
)
def test_what_is_code(values, code, tmp_path):
    experiment = load_experiment("spread-3-scripted", values, check_names=False)
    folder = RunFolder.create(experiment, tmp_path / "run")
    assert trust.code_of(folder.experiment) == code


def test_what_is_registered_is_no_code(monkeypatch):
    entry = EntryPoint("ferry", HOSTILE, plugins.ENVIRONMENTS)
    monkeypatch.setattr(plugins, "entry_points", lambda group: [entry])
    assert trust.code_of(load_experiment("spread-3-scripted", {"env.id": "ferry"}, check_names=False)) == {}


def test_a_folder_of_the_name_of_a_package_is_not_it(here, monkeypatch):
    """Names of installed packages need no trust: so they are never looked for where the run was unpacked."""
    monkeypatch.setattr("sys.path", [])
    monkeypatch.delitem(sys.modules, "mpe2", raising=False)
    (here / "mpe2").mkdir()
    (here / "mpe2" / "__init__.py").write_text("import pathlib; pathlib.Path('executed').touch()")
    with pytest.raises(ImportError):
        modules.import_named("mpe2")
    assert not Path("executed").exists()


def test_a_run_that_the_user_names_himself_needs_no_trust(experiment, tmp_path, monkeypatch):
    """As a sweep does: everything that the folder would run, the experiment says too."""
    folder = RunFolder.create(experiment, tmp_path / "run")
    (folder.path / "signature.json").unlink()
    assert RunFolder.open(folder.path).is_of(experiment)
    other = experiment.model_copy(update={"env": experiment.env.model_copy(update={"id": "a:b"})})
    assert not RunFolder.open(folder.path).is_of(other)
    assert run_folder.RunFolder.open(folder.path).differences(other) == [f"env.id is '{HOSTILE}', not 'a:b'"]
