"""Modules of the user's own: beside the YAML file and in the current folder, named to be found later."""

from __future__ import annotations

import os
import subprocess
import sys
import types
from pathlib import Path

import pytest

from cesma_sb3.config.registry import load_experiment
from cesma_sb3.envs.pettingzoo import import_parallel_env
from cesma_sb3.errors import CesmaError, ConfigError, MissingExtraError
from cesma_sb3.training.evaluate_run import evaluate_run
from cesma_sb3.training.run_folder import RunFolder
from cesma_sb3.utils import modules
from cesma_sb3.utils.processes import one_thread

GAME = "from tests.envs_for_tests import MatchingGame as Game\n"
QUICK = {
    "students": {"hidden_sizes": [8]},
    "dagger": {"total_timesteps": 40, "n_envs": 2, "batch_size": 16},
    "evaluation": {"n_final_episodes": 2, "n_eval_episodes": 2, "n_envs": 2, "eval_freq": 40},
}
EXPERT = "tests.bring.controllers:joint"


@pytest.fixture
def here(tmp_path, monkeypatch):
    """The current folder; what is imported and looked at in a test is forgotten."""
    monkeypatch.setattr(sys, "path", [path for path in sys.path if path])
    monkeypatch.setattr(modules, "_folders", [])
    before = set(sys.modules)
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    yield tmp_path / "here"
    for name in set(sys.modules) - before:
        if str(getattr(sys.modules[name], "__file__", None)).startswith(str(tmp_path)):
            del sys.modules[name]


def write(folder, module="game", text=GAME):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{module}.py").write_text(text)


def experiment(folder, env="game:Game", name="mine"):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.yaml").write_text(
        f"extends: spread-3-scripted\nenv: {{id: '{env}'}}\nexpert: {{algorithm: '{EXPERT}'}}\n"
    )
    return folder / f"{name}.yaml"


def test_beside_the_file_that_is_extended(here):
    write(here.parent / "lib")
    experiment(here.parent / "lib", name="base")
    (here / "mine.yaml").write_text("extends: ../lib/base.yaml\n")
    assert load_experiment("mine.yaml").env.id == "game:Game"
    assert import_parallel_env("game:Game").possible_agents == ["player_0", "player_1"]


def test_a_run_of_ones_own_remembers_where_its_modules_were(here, monkeypatch):
    """From wherever it is measured; one of somebody else's does not say where to look."""
    write(here.parent / "lib")
    folder = RunFolder.create(load_experiment(experiment(here.parent / "lib")), here / "run")
    monkeypatch.setattr(modules, "_folders", [])
    assert RunFolder.open(folder.path).load().env.id == "game:Game"
    assert import_parallel_env("game:Game").possible_agents == ["player_0", "player_1"]
    (folder.path / "signature.json").unlink()
    monkeypatch.setattr(modules, "_folders", [])
    RunFolder.open(folder.path, trust=True).ask({"env.id"})
    assert modules.looked_in() == []


def test_in_the_current_folder(here):
    write(here)
    assert import_parallel_env("game:Game").possible_agents == ["player_0", "player_1"]


def test_in_packages_of_the_current_folder(here):
    write(here / "package", "__init__", "")
    write(here / "package", "game")
    for target in ("package.game:Game", "package.game.Game"):
        assert import_parallel_env(target).possible_agents == ["player_0", "player_1"]


def test_beside_the_file_that_names_it(here):
    """Wherever one is, and before what lies in the current folder."""
    write(here / "project")
    file = experiment(here / "project")
    assert (
        load_experiment(file, {"expert.algorithm": "game:nothing"}, check_names=False).env.id == "game:Game"
    )
    with pytest.raises(MissingExtraError, match=r"it lies in .*here/project: type the command there"):
        import_parallel_env("game:Game")  # nobody has named the file
    with pytest.raises(ConfigError, match="unknown name in game 'nothing'"):
        load_experiment(file, {"expert.algorithm": "game:nothing"})
    assert import_parallel_env("game:Game").possible_agents == ["player_0", "player_1"]


def test_helpers_beside_it_are_found_too(here):
    write(here / "project", "game", "from helping import Game\n")
    write(here / "project", "helping")
    load_experiment(experiment(here / "project"))
    assert import_parallel_env("game:Game").possible_agents == ["player_0", "player_1"]


def test_two_of_one_name_are_not_taken_for_each_other(here):
    for project in ("one", "two"):
        write(here / project, "game", f"{GAME}def act(seen): return '{project}'\n")
    load_experiment(experiment(here / "one"), {"expert.algorithm": "game:act"})
    file = experiment(here / "two")
    with pytest.raises(ConfigError, match=r"two/game\.py is hidden by .*one/game\.py: expected another name"):
        load_experiment(file, {"expert.algorithm": "game:act"})


def test_what_is_installed_is_not_hidden(here):
    write(here, "json", "raise AssertionError('it was imported')")
    with pytest.raises(CesmaError, match=r"here/json\.py is hidden by .*json/__init__\.py"):
        import_parallel_env("json:Game")


def test_nothing_is_searched_for_names_that_are_installed(here):
    changes = {"expert.algorithm": "stable_baselines3:PPO", "expert.total_timesteps": 8}
    load_experiment(experiment(here, env="mpe2.simple_spread_v3"), changes)
    import_parallel_env("mpe2.simple_spread_v3")
    assert str(here) not in sys.path


@pytest.mark.parametrize(
    ("where", "told"),
    [
        (
            "../project",
            "it lies in {above}/project: type the command there, or add that folder to PYTHONPATH",
        ),
        ("../../", "it lies in {above}: type"),
        ("below", "it lies in {above}/inner/below: type"),
        (
            None,
            "try: pip install 'game', or type the command in the folder that holds game.py",
        ),
    ],
)
def test_what_lies_nearby_is_not_to_be_installed(where, told, here, monkeypatch):
    (here / "inner").mkdir()
    (here / "project").mkdir()
    monkeypatch.chdir(here / "inner")
    if where == "../project":
        monkeypatch.chdir(here)
        where = "project"
    if where is not None:
        write(Path(where).resolve())
    above = here.parent if where == "../../" else here
    with pytest.raises(MissingExtraError) as error:
        import_parallel_env("game:Game")
    assert told.format(above=above) in str(error.value)
    assert "\n" not in str(error.value)


def test_a_missing_helper_is_told_the_same_way(here):
    write(here, "game", "import helping\n")
    write(here / "elsewhere", "helping")
    with pytest.raises(MissingExtraError, match=r"'helping'; it lies in .*here/elsewhere"):
        import_parallel_env("game:Game")
    write(here, "other", "import surely_not_installed\n")
    with pytest.raises(MissingExtraError, match="try: pip install 'surely_not_installed'"):
        import_parallel_env("other:Game")


def test_a_module_that_makes_a_run_while_it_is_imported(here):
    """A script without a main guard, which would train for ever inside of itself."""
    write(here, "unguarded", f"import cesma_sb3\ncesma_sb3.run('spread-3-scripted')\n{GAME}")
    with pytest.raises(
        ConfigError, match=r"unguarded: makes a run while it is imported; expected `if __name__"
    ):
        import_parallel_env("unguarded:Game")
    assert not (here / "runs").exists()


def test_names_of_things():
    def local():
        pass

    module = types.ModuleType("typed")
    exec("class Typed: pass", vars(module))
    sys.modules["typed"] = module
    try:
        assert modules.name_of(module.Typed) == "typed:Typed"
    finally:
        del sys.modules["typed"]
    assert modules.name_of(write) == f"{__name__}:write"
    assert modules.name_of(local) is None
    assert modules.name_of(lambda: 0) is None
    assert modules.name_of(3) is None


def main_module(monkeypatch, **attributes):
    main = types.ModuleType("__main__")
    vars(main).update({"__spec__": None, **attributes})
    exec("class Meet: pass", vars(main))
    monkeypatch.setitem(sys.modules, "__main__", main)
    return main


def test_things_of_a_script(here, monkeypatch):
    (here / "my-script.py").touch()
    main = main_module(monkeypatch, __file__=str(here / "my-script.py"))
    assert modules.name_of(main.Meet) == "my-script:Meet"
    assert modules.import_named("my-script") is main  # it is not run again
    (here / "project").mkdir()
    (here / "project" / "my-script.py").touch()
    modules.look_in(here / "project")
    with pytest.raises(ImportError, match=r"project/my-script\.py is hidden by .*here/my-script\.py"):
        modules.import_named("my-script")


def test_things_of_a_session(here, monkeypatch):
    main = main_module(monkeypatch)
    assert modules.name_of(main.Meet) == "__main__:Meet"
    assert modules.main_name() is None
    main_module(monkeypatch, __file__="/somewhere/bin/cesma")
    assert modules.main_name() is None


def test_processes_find_the_same(here, monkeypatch):
    """Though they start in another folder, with nothing but the environment."""
    write(here / "project")
    modules.look_in(here / "project")
    code = "from cesma_sb3 import make_parallel_env as m; print(m('game:Game').possible_agents)"
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd="/", env=one_thread(), capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "['player_0', 'player_1']", done.stderr
    assert str(here / "project") in one_thread()[modules.PATH].split(os.pathsep)


def test_workers_of_environments_find_the_same(here):
    from cesma_sb3.envs import make_vec_env

    write(here / "project")
    modules.look_in(here / "project")
    venv = make_vec_env("game.Game", n_envs=2, processes=1)  # its module is not imported in this process
    try:
        assert venv.team.n_agents == 2
    finally:
        venv.close()


SCRIPT = f"""
import cesma_sb3
from tests.envs_for_tests import MatchingGame

class Meet(MatchingGame):
    pass

def cues(seen):
    return seen.reshape(len(seen), 2, 3).argmax(axis=2)

if __name__ == "__main__":
    cesma_sb3.decentralize(cues, Meet, out="run", total_timesteps=40, **{QUICK!r})
"""


def test_a_run_of_a_script_is_measured_again(here, monkeypatch):
    """In the folder of the script, though its class and its expert were in `__main__`."""
    (here / "script.py").write_text(SCRIPT)
    with monkeypatch.context() as patch:
        main = main_module(patch, __file__=str(here / "script.py"))
        exec(compile(SCRIPT, "script.py", "exec"), vars(main))
        assert "script" not in sys.modules
    found = load_experiment(here / "run" / "config.yaml", check_names=False)
    assert (found.env.id, found.expert.algorithm) == ("script:Meet", "script:cues")
    assert evaluate_run("run")["return"]["expert"] == 8.0
    del sys.modules["script"]
    monkeypatch.setattr(sys, "path", [path for path in sys.path if path != str(here)])
    monkeypatch.chdir("/")
    with pytest.raises(
        CesmaError, match=r"No module named 'script'; try: .*the folder that holds script\.py"
    ):
        evaluate_run(here / "run")


def test_modules_in_a_run_folder_are_not_found(here):
    """Whoever looks at somebody's run does not from then on import what lies in it."""
    folder = RunFolder.create(load_experiment("spread-3-scripted"), here / "run")
    write(folder.path)
    folder.load()
    with pytest.raises(MissingExtraError, match=r"it lies in .*/run: type"):
        import_parallel_env("game:Game")
