"""A team on the Hugging Face Hub, or in a folder of the same form: its weights and a model card.

What is published: `students/` (weights and JSON; loading runs no code), `config.yaml`, `report.json`,
`figure.png`, and the card, `README.md`. The expert stays behind: its file may run code when it is loaded.

Another server with the Hub's interface is named as huggingface_hub has it, by `HF_ENDPOINT`.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cesma_sb3.config.schema import TRAJECTORIES
from cesma_sb3.errors import ConfigError, StorageError, message_of
from cesma_sb3.policies import TeamEnsemble, TeamPolicy, load_team
from cesma_sb3.policies.networks.custom import MakeModule
from cesma_sb3.spaces.agent_spaces import ActionColumns
from cesma_sb3.spaces.team_spaces import TeamSpaces
from cesma_sb3.training.load import load_students
from cesma_sb3.training.run_folder import CONFIG, FIGURE, REPORT, RUN, STUDENTS, RunFolder, check_free
from cesma_sb3.utils import atomic
from cesma_sb3.utils.file_names import as_path
from cesma_sb3.utils.installation import missing_extra

if TYPE_CHECKING:
    from types import ModuleType

CARD = "README.md"
_TAGS = ["cesma", "multi-agent", "reinforcement-learning", "imitation-learning", "stable-baselines3"]
_VERSIONS = (
    *("python", "cesma-sb3", "torch", "stable-baselines3"),
    *("sb3-contrib", "imitation", "gymnasium", "numpy"),
)
"""The packages whose versions the card lists."""


def write_published(
    run_dir: Path | str, out: Path | str, *, repo_id: str | None = None, trust: bool = False
) -> Path:
    """Write the folder that `push_to_hub` uploads.

    Args:
        run_dir: A finished run's folder.
        out: The folder, new or empty.
        repo_id: The repository that the card names; None: it names the folder.
        trust: Allow the folder to run the code that it names or holds, though it was made elsewhere.

    Returns:
        The folder.

    Raises:
        StorageError: The run did not finish, or a file of it is torn.
        UntrustedError: The students are of a class that the folder names, and it was not made here.
        ConfigError: `out` holds something.
        MissingExtraError: huggingface_hub is not installed.
    """
    hub = _huggingface_hub()
    run = RunFolder.open(run_dir, trust=trust)
    report, students = run.report(), load_students(run)
    out = as_path(out)
    check_free(out)
    files = [run.path / name for name in (CONFIG, REPORT, FIGURE) if (run.path / name).is_file()]
    files += sorted(path for path in (run.path / STUDENTS).rglob("*") if path.is_file())
    contents = {str(path.relative_to(run.path)): path.read_bytes() for path in files}
    try:
        contents[CARD] = _card(hub, run, report, students, repo_id or str(out)).encode()
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        cause = f"{type(error).__name__}: {error}"
        raise StorageError(f"{run.path}: {REPORT} or {RUN} has another form: {cause}") from error
    atomic.write_folder(out, contents)
    return out


def push_to_hub(
    run_dir: Path | str,
    repo_id: str,
    *,
    private: bool = False,
    message: str | None = None,
    token: str | None = None,
    trust: bool = False,
) -> str:
    """Publish the students of a run, with a card that holds its report.

    Args:
        run_dir: A finished run's folder.
        repo_id: `user/name`; made if there is none.
        private: Create the repository as private, if there is none.
        message: The commit message.
        token: A token of the Hub; None: the one that `hf auth login` left.
        trust: Allow the folder to run the code that it names or holds, though it was made elsewhere.

    Returns:
        The address of the commit.

    Raises:
        StorageError: The run did not finish, a file of it is torn, or the server refused or was not reached.
        ConfigError: This is no name of a repository.
        MissingExtraError: huggingface_hub is not installed.
    """
    hub = _huggingface_hub()
    api = hub.HfApi(token=token)
    with tempfile.TemporaryDirectory() as folder, _one_line_errors(repo_id):
        source = write_published(run_dir, Path(folder) / "published", repo_id=repo_id, trust=trust)
        api.create_repo(repo_id, private=private, exist_ok=True)
        commit = api.upload_folder(
            repo_id=repo_id, folder_path=source, commit_message=message or "A team, by cesma_sb3"
        )
    return str(commit.commit_url)


def load_from_hub(
    source: str | Path,
    *,
    revision: str | None = None,
    module: MakeModule | None = None,
    token: str | None = None,
) -> TeamPolicy | TeamEnsemble:
    """Load a published team. No code of its files is run.

    Args:
        source: `user/name`, or a folder that `write_published` wrote.
        revision: A branch, tag or commit; None: the newest.
        module: The class or function that makes custom networks, as in `load_team`.
        token: A token of the Hub; None: the one that `hf auth login` left.

    Raises:
        StorageError: There is no team, a file is torn, or the server refused or was not reached.
        ConfigError: This is neither a folder nor a name of a repository.
        MissingExtraError: huggingface_hub is not installed, and `source` is no folder.
    """
    if isinstance(source, Path) or as_path(source).is_dir():
        return load_team(as_path(source) / STUDENTS, module=module)
    hub = _huggingface_hub()
    with _one_line_errors(source):
        folder = hub.snapshot_download(
            source, revision=revision, allow_patterns=[f"{STUDENTS}/*"], token=token
        )
    return load_team(Path(folder) / STUDENTS, module=module)


def _huggingface_hub() -> ModuleType:
    try:
        import huggingface_hub
    except ImportError as error:
        raise missing_extra("the Hub", "hub", error) from None
    return huggingface_hub


@contextmanager
def _one_line_errors(repo_id: str) -> Iterator[None]:
    """Raise errors of the connection and of the server as errors of this package."""
    from huggingface_hub import errors

    try:
        yield
    except errors.HFValidationError as error:
        raise ConfigError(f"{repo_id!r}: no name of a repository: {message_of(error)}") from None
    except (errors.LocalEntryNotFoundError, errors.OfflineModeIsEnabled) as error:
        raise StorageError(f"{repo_id}: the server was not reached: {message_of(error)}") from None
    except errors.HfHubHTTPError as error:
        raise StorageError(f"{repo_id}: {message_of(error)}") from None
    except OSError as error:  # connections, of requests and of httpx
        raise StorageError(f"{repo_id}: the server was not reached: {message_of(error)}") from None


def _card(
    hub: ModuleType,
    run: RunFolder,
    report: Mapping[str, Any],
    students: TeamPolicy | TeamEnsemble,
    where: str,
) -> str:
    """The model card, with the Hub's metadata at its head."""
    experiment = run.experiment
    data = hub.ModelCardData(
        library_name="cesma-sb3",
        pipeline_tag="reinforcement-learning",
        tags=_TAGS,
        model_name=experiment.name,
        eval_results=_results(hub, experiment.env.id, report),
    )
    team = students.team
    first = team.agents[0]
    versions = {name.replace("_", "-"): number for name, number in run.info["versions"].items()}
    extra = "\n".join(f"| {name} | {versions.get(name, '-')} |" for name in _VERSIONS)
    mask = ", action_masks=own_mask" * team.masks_in_infos
    picture = f"![Return against environment samples]({FIGURE})\n\n" if (run.path / FIGURE).is_file() else ""
    text = f"""# {experiment.name}: one policy for each agent

{experiment.description or "A team whose agents act on their own observations"}. Made with cesma_sb3, after
*Decentralized Multi-Agents by Imitation of a Centralized Controller*:
{_how(experiment)}

## Results

{report["episodes"]} episodes of `{experiment.env.id}`, seed {experiment.seed}. Reward: {report["reward"]}.
Normalised: 0 is a random team, 1 the reference controller that sees everything.

{_results_table(report)}
{picture}## Use

```python
import cesma_sb3

students = cesma_sb3.load_from_hub({json.dumps(where)})
agent = students.agent({json.dumps(first)})  # its weights, and no other agent's
action, state = agent.predict(own_observation{mask}, deterministic={students.acts_deterministically})
```

Loading runs no code from the files: weights are safetensors, all else is JSON.

## Agents

{_agents_table(team)}
## How it was made

`{CONFIG}` is the experiment with every value: `cesma run {CONFIG} --seed {experiment.seed}` makes it again.

| package | version |
| --- | --- |
{extra}
"""
    return f"---\n{data.to_yaml()}\n---\n\n{text}"


def _how(experiment: Any) -> str:
    if experiment.dagger is None:
        return f"a baseline, trained by {experiment.expert.algorithm}; nobody was imitated."
    controller = f"a controller that sees the whole team ({experiment.expert.algorithm})"
    if experiment.expert.algorithm == TRAJECTORIES:
        controller = "what recorded trajectories of the whole team did"
    return f"{controller} was imitated by {experiment.dagger.algorithm}."


def _results(hub: ModuleType, env: str, report: Mapping[str, Any]) -> list[Any]:
    """The students' results, in the form that the Hub shows."""
    common = {
        "task_type": "reinforcement-learning",
        "task_name": "multi-agent reinforcement learning",
        "dataset_type": env,
        "dataset_name": env,
    }
    spread = report["std"]["students"]
    value = f"{report['return']['students']:.2f} +/- {spread:.2f}"
    found = [hub.EvalResult(**common, metric_type="mean_reward", metric_value=value)]
    if "win_rate" in report:
        rate = report["win_rate"]["students"]["rate"]
        found.append(hub.EvalResult(**common, metric_type="win_rate", metric_value=round(rate, 4)))
    return found


def _results_table(report: Mapping[str, Any]) -> str:
    wins = report.get("win_rate")
    titles = ["policy", "return", "standard error", "normalised"]
    titles += [] if wins is None else ["win rate (95%)"]
    rows = [titles, ["---"] * len(titles)]
    for policy, value in report["return"].items():
        score = report["normalized"].get(policy)
        row = [
            policy,
            f"{value:.2f}",
            "-" if (error := report["standard_error"][policy]) is None else f"{error:.2f}",
            "-" if score is None else f"{score:.3f}",
        ]
        if wins is not None:
            won = wins[policy]
            ends = "" if won["low"] is None else f" ({won['low']:.2f} to {won['high']:.2f})"
            row.append(f"{won['rate']:.2f}{ends}")
        rows.append(row)
    return _table(rows)


def _agents_table(team: TeamSpaces) -> str:
    rows = [["agent", "observation", "action"], ["---"] * 3]
    for agent in team.agents:
        where = team.observation_slices[team.agent_index(agent)]
        layout = team.layouts[agent].observation
        parts = ", ".join(f"{part.name} {part.width}" for part in layout.parts)
        columns = ActionColumns.of(team.action_spaces[agent])
        acts = ", ".join(f"one of {n}" if n else "continuous" for n in columns.categories)
        rows.append([f"`{agent}`", f"{where.stop - where.start} scalars: {parts}", acts])
    return _table(rows)


def _table(rows: list[list[str]]) -> str:
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)
