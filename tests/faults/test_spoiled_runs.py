"""Run folders whose files are torn, foreign or hostile: told in one line that names the file."""

import json
import shutil
from pathlib import Path

import pytest
import torch as th
from safetensors.torch import load_file, save_file

from cesma_sb3.deploy.export import export
from cesma_sb3.errors import StorageError
from cesma_sb3.policies import TeamPolicy, load_team, save_team
from cesma_sb3.policies.ensembles import MixturePolicy
from tests.faults import hostile

WEIGHTS, DESCRIPTION = "students/team.safetensors", "students/team.json"


@pytest.fixture
def run(finished_run, refused):
    return Path(shutil.copytree(finished_run, refused.folder / "RUN"))


def torn(content):
    return content[: len(content) // 2]


WHAT = {
    "torn": torn,
    "empty": lambda _: b"",
    "a pickle": lambda _: hostile.PICKLE,
    "zeros": lambda content: bytes(len(content)),
    "noise": lambda _: bytes(range(256)) * 8,
    "text": lambda _: b"text",
    "a number": lambda _: b"3",
    "a list": lambda _: b"[]",
    "nothing": lambda _: b"null",
    "an empty object": lambda _: b"{}",
    "lists in lists": lambda _: b"[" * 10_000,
    "a number of many digits": lambda _: b'{"format": ' + b"9" * 5_000 + b"}",
}
READERS = {
    "config.yaml": ["evaluate", "export", "push"],
    "run.json": ["evaluate", "export"],
    WEIGHTS: ["evaluate", "export", "push"],
    DESCRIPTION: ["evaluate", "export", "push"],
    "report.json": ["push"],
    "expert/policy.safetensors": ["evaluate"],
}


def words(command):
    return [command, "RUN", *(["./out"] if command == "push" else [])]


# An object it is, and nothing that is read back need stand in it.
FINE = ("run.json", "an empty object")


@pytest.mark.parametrize(
    ("name", "what"), [(name, what) for name in READERS for what in WHAT if (name, what) != FINE]
)
def test_content(name, what, run, refused):
    path = run / name
    path.write_bytes(WHAT[what](path.read_bytes()))
    for command in READERS[name]:
        refused(*words(command), told=path.name)


@pytest.mark.parametrize("name", READERS)
@pytest.mark.parametrize("instead", ["nothing", "a folder"])
def test_files_that_are_not_there(name, instead, run, refused):
    (run / name).unlink()
    if instead == "a folder":
        (run / name).mkdir()
    for command in READERS[name]:
        refused(*words(command), told=("RUN", Path(name).name))


def without(key):
    return lambda description: description.pop(key)


def with_(**values):
    return lambda description: description.update(values)


def of_the_team(**values):
    return lambda description: description["team"].update(values)


def of_an_agent(**values):
    return lambda description: description["team"]["agents"][0].update(values)


CHANGES = {
    "no team": without("team"),
    "no network": without("network"),
    "no sizes": without("hidden_sizes"),
    "another format": with_(format=1),
    "no format": without("format"),
    "a format as text": with_(format="2"),
    "an unknown network": with_(network="transformer"),
    "a network of numbers": with_(network=3),
    "sizes as text": with_(hidden_sizes="wide"),
    "sizes of texts": with_(hidden_sizes=["wide"]),
    "a size below 1": with_(hidden_sizes=[-8]),
    "a size of 0": with_(hidden_sizes=[0]),
    "a size that fills the memory": with_(hidden_sizes=[10**9, 10**9]),
    "a size of other weights": with_(hidden_sizes=[9]),
    "more layers": with_(hidden_sizes=[8, 8]),
    "an activation that is a function": with_(activation="os.mkdir"),
    "an activation that is no name": with_(activation=["ReLU"]),
    "a visibility that there is not": with_(actor_visibility="all"),
    "shared parameters": with_(share_parameters=True),
    "a module": with_(network="custom", module="os:mkdir", module_kwargs={"path": hostile.EXECUTED}),
    "a team that is a list": with_(team=[]),
    "a team that is null": with_(team=None),
    "a team of nobody": of_the_team(agents=[]),
    "no agents": lambda description: description["team"].pop("agents"),
    "agents as text": of_the_team(agents="agent_0"),
    "agents as numbers": of_the_team(agents=[1, 2]),
    "two agents of one name": of_an_agent(name="agent_1"),
    "an observation of nothing": of_an_agent(observation={}),
    "an observation as text": of_an_agent(observation="Box"),
    "an action that is null": of_an_agent(action=None),
    "more actions than outputs": of_an_agent(action={"kind": "Discrete", "n": 9, "start": 0}),
    "a layout of nothing": of_an_agent(layout={}),
    "a layout as text": of_an_agent(layout="flat"),
    "a layout that does not add up": of_an_agent(layout={"observation": [], "action": []}),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_descriptions(change, run, refused):
    path = run / DESCRIPTION
    description = json.loads(path.read_text())
    change(description)
    path.write_text(json.dumps(description))
    refused("export", "RUN", told="RUN/students")


def test_no_name_leads_out(run, tmp_path):
    path = run / DESCRIPTION
    names = ("../../agent_0", "/tmp/agent_0", "..", "", "a/b", "a\\b", "a\nb")
    for index, name in enumerate(names):
        description = json.loads(path.read_text())
        description["team"]["agents"][0]["name"] = name
        path.write_text(json.dumps(description))
        folder = export(run, format="torchscript", out=tmp_path / "out" / str(index))
        told = {json.loads(each.read_text())["agent"]: each for each in folder.glob("*.json")}
        assert name in told
        assert len(list(folder.iterdir())) == 2 * len(told)
    assert len(list((tmp_path / "out").iterdir())) == len(names)


def tensors(run):
    return load_file(run / WEIGHTS)


def test_weights_of_other_shapes_and_names(run, refused):
    found = tensors(run)
    name = next(iter(found))
    for wrong in (
        {**found, name: found[name][..., :-1].contiguous()},
        {key: value for key, value in found.items() if key != name},
        {**found, "another": th.zeros(3)},
        {**found, name: th.zeros(0)},
        {},
    ):
        save_file(wrong, run / WEIGHTS)
        refused("export", "RUN", told="team.safetensors: weights of another network")


def test_weights_that_are_no_numbers(run, refused):
    found = tensors(run)
    name = next(iter(found))
    for value in (float("nan"), float("inf")):
        save_file({**found, name: th.full_like(found[name], value)}, run / WEIGHTS)
        refused("export", "RUN", told=f"team.safetensors: {name} holds numbers that are not finite")


def test_a_header_that_lies(run, refused):
    content = (run / WEIGHTS).read_bytes()
    for lie in (
        (2**62).to_bytes(8, "little") + content[8:],
        (0).to_bytes(8, "little") + content[8:],
        content[:8] + b"[" * (len(content) - 8),
    ):
        (run / WEIGHTS).write_bytes(lie)
        refused("export", "RUN", told="team.safetensors: cannot be read")


@pytest.fixture
def ensemble(finished_run, tmp_path):
    team = load_team(finished_run / "students")
    assert isinstance(team, TeamPolicy)
    save_team(MixturePolicy([team, team], [0.5, 0.5], per_agent=True, seed=0), tmp_path / "team")
    return tmp_path / "team"


ENSEMBLES = {
    "another format": with_(format=9),
    "another kind": with_(kind="vote"),
    "a kind that is a list": with_(kind=["mixture"]),
    "no components": with_(n_components=0),
    "more components": with_(n_components=3),
    "very many components": with_(n_components=10**18),
    "components as text": with_(n_components="2"),
    "a path": with_(n_components="../../x"),
    "no weights": without("weights"),
    "weights as text": with_(weights="half"),
    "too few weights": with_(weights=[1.0]),
    "weights below 0": with_(weights=[2.0, -1.0]),
    "weights that are no numbers": with_(weights=[None, 1.0]),
    "no seed": without("seed"),
    "a seed below 0": with_(seed=-1),
    "a seed as text": with_(seed="0"),
    "no word on agents": without("per_agent"),
}


@pytest.mark.parametrize("change", ENSEMBLES.values(), ids=ENSEMBLES)
def test_ensembles(change, ensemble):
    path = ensemble / "ensemble.json"
    description = json.loads(path.read_text())
    change(description)
    path.write_text(json.dumps(description))
    with pytest.raises(StorageError, match=str(ensemble)) as told:
        load_team(ensemble)
    assert len(str(told.value).splitlines()) == 1


def test_spaces_that_fill_the_memory(run):
    path = run / DESCRIPTION
    for space in (
        {"kind": "Box", "low": 0.0, "high": 1.0, "shape": [10**6, 10**6], "dtype": "float32"},
        {"kind": "Box", "low": 0.0, "high": 1.0, "shape": [10**30], "dtype": "float32"},
        {"kind": "Discrete", "n": 10**15, "start": 0},
        {"kind": "MultiBinary", "n": [10**6, 10**6]},
        {"kind": "Tuple", "members": [{"kind": "Tuple", "members": []}]},
        {"kind": "Box"},
        {"kind": "os.mkdir"},
        {},
        [],
        None,
    ):
        description = json.loads(path.read_text())
        description["team"]["agents"][0]["action"] = space
        path.write_text(json.dumps(description))
        with pytest.raises(StorageError, match=r"team\.json"):
            load_team(path.parent)


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("env: {id: 'os:system', kwargs: {command: 'mkdir executed'}}", "would run os:system (env.id)"),
        ("env: {id: 'subprocess:run', kwargs: {args: [mkdir, executed]}}", "would run subprocess:run"),
        ("expert: {algorithm: 'os:mkdir', total_timesteps: 0, kwargs: {path: executed}}", "run os:mkdir"),
        ("name: ../../x", "config.yaml: name: expected letters"),
        (
            "expert: {path: ../../m.zip, algorithm: PPO, total_timesteps: 0}",
            "RUN: it was not made here, or was changed since, and would run expert/model.zip",
        ),
    ],
)
def test_configurations_that_name_what_they_should_not(line, told, run, refused):
    (run / "expert" / "model.zip").unlink()
    (run / "config.yaml").write_text(f"extends: spread-3-scripted\n{line}")
    refused("evaluate", "RUN", told=told)
