"""The run folder: everything about one run, each file written whole or not at all.

Its files:
config.yaml        the experiment as resolved; `cesma run` takes it again. Its files are the folder's own
signature.json     by which the user's own folders are known (`cesma_sb3/training/trust.py`)
run.json           name, seed, command, status, times, agents in their order, versions, machine
checkpoints/       from which a run that has not finished is resumed (`cesma_sb3/training/checkpoint.py`)
expert/, students/ what was trained
others/            the team that plays the other side of a game
acting_modes.json  whether an expert that is a distribution samples (`cesma_sb3/training/acting_mode.py`)
evaluations.csv    each evaluation during training
report.json        the results; a folder without it is of a run that did not finish
error.log          tracebacks: of the error that ended a run, and of what could not be closed
figure.png         return against environment samples
price.json         what decentralization cost, once `cesma price` has measured it
"""

from __future__ import annotations

import contextlib
import datetime
import filecmp
import traceback
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from cesma_sb3.config.documents import LARGEST
from cesma_sb3.config.registry import load_experiment
from cesma_sb3.config.schema import Experiment, differences
from cesma_sb3.config.yaml import write_mapping
from cesma_sb3.errors import ConfigError, StorageError
from cesma_sb3.training import trust
from cesma_sb3.training.experiment_files import NORMALIZATION, OTHERS, as_kept, kept_files, with_paths
from cesma_sb3.training.pretrained_teams import find_run, is_pretrained, other_names
from cesma_sb3.training.provenance import command_line, machine, versions
from cesma_sb3.training.run_files import BEGINNING, RunFiles, json_text
from cesma_sb3.utils import atomic, modules
from cesma_sb3.utils.file_names import as_path
from cesma_sb3.utils.json_files import read_object
from cesma_sb3.utils.locks import LOCK, exclusive_lock

CONFIG, RUN = BEGINNING
REPORT, FIGURE, EVALUATIONS, LOG = "report.json", "figure.png", "evaluations.csv", "error.log"
PRICE = "price.json"
EXPERT, STUDENTS, CHECKPOINTS = "expert", "students", "checkpoints"
EXPERT_WEIGHTS = "policy.safetensors"

Status = Literal["running", "finished", "failed", "interrupted"]


class RunFolder(RunFiles):
    """A run folder: `create` makes one, `open` reads one back.

    Attributes:
        path: The folder.
        experiment: As resolved; its file names are relative to the folder.
        info: The content of `run.json`.
        trust: Whether the user allows the code that the folder names or holds to run.
    """

    def __init__(
        self, path: Path, experiment: Experiment, info: dict[str, Any], *, trust: bool = False
    ) -> None:
        super().__init__(path)
        self.experiment = as_kept(experiment)
        self.info = info
        self.trust = trust
        self._made: list[Path] = []
        """Folders that were made for it, outermost first."""

    @classmethod
    def create(
        cls, experiment: Experiment, out: Path | str | None = None, command: str | None = None
    ) -> RunFolder:
        """Makes a new folder and writes `config.yaml` and `run.json` (status `running`).

        Args:
            experiment: As resolved, its seed being the run's.
            out: The folder itself, which must not exist or be empty; None: a new one,
                `runs/NAME/<UTC time>-seed<N>` under the current folder.
            command: The command line; None: this process's own.

        Raises:
            ConfigError: `out` is a file, or a folder that holds something or in which another run begins.
        """
        parents = Path("runs") / experiment.name if out is None else as_path(out)
        made = [each for each in (*reversed(parents.parents), parents) if not each.exists()]
        content = write_mapping(as_kept(experiment).to_mapping())
        if len(content.encode()) > LARGEST:  # arrays among the arguments, say
            raise ConfigError(f"{experiment.name}: expected values of at most {LARGEST:,} bytes as YAML")
        path = _new_folder(parents, experiment.seed) if out is None else make_folder(parents)
        info: dict[str, Any] = {
            "name": experiment.name,
            "seed": experiment.seed,
            "command": command_line() if command is None else command,
            "status": "running",
            "started": _now(),
            "cesma": versions().get("cesma-sb3", "not installed"),
            "machine": machine(),
            "versions": versions(),
        }
        run = cls(path, experiment, info)
        run.digests = {trust.MODULES: folders} if (folders := modules.looked_in()) else {}
        run._made = made if out is not None else [*made, path]
        with exclusive_lock(path, "another run writes there"):
            if any(each.name != LOCK for each in path.iterdir()):
                raise ConfigError(f"{path}: holds something already; expected a new or an empty folder")
            run.write_text(CONFIG, content)
            run.write_json(RUN, info)
        return run

    @classmethod
    def open(cls, path: Path | str, *, trust: bool = False) -> RunFolder:
        """Reads a run folder back. No code of it is run.

        Args:
            path: The folder, or the name of a pretrained team (`list_pretrained`).
            trust: Whether the code that it names or holds may run, though the user did not make it (`load`).

        Raises:
            StorageError: It isn't one, or a file of it is missing or torn.
        """
        path = find_run(path)
        if not path.is_dir():
            raise StorageError(f"{path}: no such folder{other_names(path)}")
        if not (path / RUN).is_file():
            raise StorageError(f"{path}: not a run folder: it has no {RUN}")
        try:
            experiment = load_experiment(path / CONFIG, check_names=False)
        except ConfigError as error:
            raise StorageError(str(error)) from None
        if experiment.expert.path is not None and (path / NORMALIZATION).is_file():
            # Runs of earlier versions do not name the statistics of a model that was handed over in memory.
            experiment = with_paths(experiment, {("expert", "normalization"): NORMALIZATION})
        return cls(path, experiment, read_object(path / RUN), trust=trust)

    def load(self, changes: Mapping[str, Any] | None = None) -> Experiment:
        """Returns the experiment, to be run or evaluated: its files are absolute paths in this folder.

        Args:
            changes: Values in place of the run's, as `load_experiment` takes them.

        Raises:
            UntrustedError: The folder comes from elsewhere, would run code of its own, and nobody trusts it.
            ConfigError: A value is wrong.
        """
        meant = as_kept(load_experiment(self.path / CONFIG, changes, check_names=False))
        own = trust.code_of(self.experiment)
        self._ask({key: name for key, name in trust.code_of(meant).items() if own.get(key) == name})
        changed = load_experiment(self.path / CONFIG, changes, searches=False)
        experiment = self.here(changed)
        others = changed.env.others
        if others is not None and others != str(self.path.resolve() / OTHERS):  # the user's, by `changes`
            experiment = with_paths(experiment, {("env", "others"): others})
        expert = experiment.expert.model_copy(update={"trust": True})
        return experiment.model_copy(update={"expert": expert})

    def ask(self, keys: Collection[str]) -> None:
        """Refuses to run what these keys name, unless it is trusted; `load` does so for all keys.

        Raises:
            UntrustedError: The folder comes from elsewhere, would run code of its own, and nobody trusts it.
        """
        self._ask({key: name for key, name in trust.code_of(self.experiment).items() if key in keys})

    def _ask(self, code: Mapping[str, str]) -> None:
        trust.ask(self.path, code, is_own=lambda: self.is_own, trust=self.trust)
        if code and self.is_own and self.digests is not None:
            for folder in reversed(self.digests.get(trust.MODULES, [])):
                modules.look_in(folder)

    def here(self, experiment: Experiment) -> Experiment:
        """Returns an experiment that reads its files from this folder."""
        normalization = self.experiment.expert.normalization
        if normalization is not None:
            experiment = with_paths(experiment, {("expert", "normalization"): normalization})
        return as_kept(experiment, self.path.resolve())

    def is_of(self, experiment: Experiment) -> bool:
        """Whether this is a run of an experiment: the same values, and the same content of its files."""
        return not self.differences(experiment)

    def differences(self, experiment: Experiment) -> list[str]:
        """Returns how the run differs from an experiment, one difference a line."""
        found = differences(self.experiment.fingerprint(), as_kept(experiment).fingerprint())
        for name, source in kept_files(experiment).items():
            kept = self.path / name
            if not source.is_file():
                if not self.is_own:  # whatever it holds, nobody can compare it
                    found.append(f"{name}: {source} is not there")
            elif not (kept.is_file() and filecmp.cmp(source, kept, shallow=False)):
                found.append(f"{name} is another file than {source}")
        return found

    @property
    def outputs(self) -> Path:
        """Where analyses write by default: the run folder; of a pretrained team, one below `runs`."""
        return Path("runs", self.path.name, "pretrained") if is_pretrained(self.path) else self.path

    @property
    def agents(self) -> tuple[str, ...] | None:
        """The agents of the run in the order of its arrays and weights; None before its team is known.

        Raises:
            StorageError: `run.json` holds something else there.
        """
        found = self.info.get("agents")
        if found is None:
            return None
        if not isinstance(found, list) or not all(isinstance(agent, str) for agent in found):
            raise StorageError(f"{self.path / RUN}: agents: expected a list of names, got {found!r}")
        return tuple(found)

    def keep_agents(self, agents: Sequence[str]) -> None:
        """Writes the agents into `run.json`, in the order of arrays and weights, before anything is trained.

        Raises:
            StorageError: The run has others, or the same in another order.
        """
        if self.agents is None:
            self.info = {**self.info, "agents": list(agents)}
            self.write_json(RUN, self.info)
        elif self.agents != tuple(agents):
            raise StorageError(
                f"{self.path}: its agents are {', '.join(self.agents)}; those of the environment are "
                f"{', '.join(agents)}"
            )

    @property
    def status(self) -> Status:
        """`running` (also of a run that was killed), `finished`, `failed` or `interrupted`."""
        status: Status = self.info.get("status", "running")
        return status

    def check_reached(self, part: str) -> None:
        """Checks that the run got so far as to leave `expert`, `students` or `report.json`.

        Raises:
            StorageError: It has not finished, and has none.
        """
        if self.status != "finished" and not (self.path / part).exists():
            raise StorageError(
                f"{self.path}: incomplete, status {self.status!r}: it has no {part}; `cesma run --resume "
                f"{self.path}` finishes it"
            )

    def report(self) -> dict[str, Any]:
        """Reads the content of `report.json`.

        Raises:
            StorageError: The run did not finish, or the file is torn.
        """
        self.check_reached(REPORT)
        report = read_object(self.path / REPORT)
        if not isinstance(report.get("return"), dict):
            raise StorageError(f"{self.path / REPORT}: no report of a run: it has no 'return'")
        return report

    def write_output(self, name: str, content: Any) -> Path:
        """Writes the JSON of an analysis where analyses write by default (`outputs`)."""
        if self.outputs == self.path:
            return self.write_json(name, content)
        path = make_folder(self.outputs) / name
        atomic.write(path, lambda file: file.write_text(json_text(content), encoding="utf-8"))
        return path

    def finish(self, report: Mapping[str, Any]) -> None:
        """Writes `report.json`, then status `finished`."""
        self.write_json(REPORT, report)
        self._end("finished")

    def check_unfinished(self) -> None:
        """Checks that there is something to resume; it writes nothing.

        Raises:
            ConfigError: The run has finished.
        """
        if (self.path / REPORT).exists():
            raise ConfigError(f"{self.path}: this run has finished: there is nothing to resume")

    def resume(self) -> None:
        """Prepares the folder of an interrupted run: writes status `running` and the time."""
        atomic.clean(self.path)
        (self.path / LOG).unlink(missing_ok=True)
        ended = ("ended", "error")
        info = {key: value for key, value in self.info.items() if key not in ended}
        self.info = {**info, "status": "running", "resumed": [*self.info.get("resumed", []), _now()]}
        self.write_json(RUN, self.info)

    def note(self, **more: Any) -> None:
        """Adds to `run.json`."""
        self.info = {**self.info, **more}
        self.write_json(RUN, self.info)

    def interrupt(self) -> None:
        """Writes status `interrupted`."""
        self._end("interrupted")

    def fail(self, reason: BaseException | str) -> None:
        """Writes status `failed` and why; of an exception, its traceback to `error.log`."""
        text = reason if isinstance(reason, str) else f"{type(reason).__name__}: {reason}".rstrip(": ")
        self._end("failed", error=" ".join(text.split()))
        if isinstance(reason, BaseException):
            self.log("".join(traceback.format_exception(reason)))

    def log(self, text: str) -> None:
        """Adds a traceback to `error.log`; nothing happens if that cannot be written."""
        with contextlib.suppress(OSError, StorageError):
            path = self.file(LOG)
            before = path.read_text(encoding="utf-8") if path.exists() else ""
            self.write_text(LOG, before + text)

    def discard(self) -> bool:
        """Removes the folder of a run that was refused before anything came of it, and what was made for it.

        Returns:
            Whether it did: not if a file holds something, but for those that a run begins with.
        """
        files = [path for path in self.path.rglob("*") if not path.is_dir()]
        logs = (LOG, "events.out.tfevents")  # TensorBoard's have a header from the start
        for path in files:
            is_input = path.relative_to(self.path).as_posix() in self.inputs
            if not is_input and not path.name.startswith(logs) and path.stat().st_size:
                return False
        for path in files:
            path.unlink()
        below = (path for path in self.path.rglob("*") if path.is_dir())
        for folder in (*sorted(below, reverse=True), *reversed(self._made)):
            with contextlib.suppress(OSError):  # which holds something of somebody else's
                folder.rmdir()
        return True

    def _end(self, status: Status, **more: str) -> None:
        if not (self.path / RUN).is_file():
            raise StorageError(f"{self.path}: is no run folder any more: its {RUN} was removed")
        self.info = {**self.info, "status": status, "ended": _now(), **more}
        self.write_json(RUN, self.info)


def _new_folder(parent: Path, seed: int) -> Path:
    """Makes a folder for a run; two runs that start in the same second get two."""
    stem = f"{datetime.datetime.now(datetime.timezone.utc):%Y%m%dT%H%M%SZ}-seed{seed}"
    make_folder(parent)
    number = 1
    while True:
        path = parent / (stem if number == 1 else f"{stem}-{number}")
        try:
            path.mkdir()
        except FileExistsError:
            number += 1
        else:
            return path


def check_free(path: Path) -> None:
    """Refuses a folder into which files may not be written; it must be new or empty.

    Raises:
        ConfigError: It holds something, is a file, or lies below one.
    """
    above = next(each for each in (path, *path.parents) if each.exists())
    if not above.is_dir():
        raise ConfigError(f"{above}: is a file; expected a new or an empty folder")
    if above == path and any(path.iterdir()):
        raise ConfigError(f"{path}: holds something already; expected a new or an empty folder")


def make_folder(path: Path) -> Path:
    """Makes a folder, and those above it; it may be there already.

    Raises:
        ConfigError: There is a file of that name, or the folder cannot be made.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError):
        raise ConfigError(f"{path}: is a file; expected a new or an empty folder") from None
    except OSError as error:
        raise ConfigError(f"{path}: cannot be made: {error.strerror}") from None
    return path


def _now() -> str:
    return datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds")
