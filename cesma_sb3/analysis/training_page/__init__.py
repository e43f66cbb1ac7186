"""A page that shows a run while it trains, from a server on this machine alone that ends with the run.

Once a second the page asks for what the run folder's logs hold, and for the newest episodes (`Recorder`).
"""

from __future__ import annotations

import csv
import json
import math
import threading
import time
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from cesma_sb3.analysis.html_report.rendering import PLAYER, read_scripts, render
from cesma_sb3.analysis.training_page.recorder import Recorder
from cesma_sb3.spaces.types import Actor
from cesma_sb3.training.callbacks import CurvePoint
from cesma_sb3.training.evaluator import Evaluator
from cesma_sb3.training.run_folder import RUN

if TYPE_CHECKING:
    from typing_extensions import Self

HOST = "127.0.0.1"
_STATE = "/state?shown="
"""Path of what the page shows; it ends with the number of the recording that the page has."""
_RETURN = "eval/return"
_SAMPLES = ("time/total_timesteps", "dagger/timesteps")
_RATES = ("time/fps", "dagger/steps_per_second")
_UPDATES = "dagger/n_updates"
_LAST_LOOK = 2.5
"""Seconds that a page which is open has to see how the run ended."""


class TrainingPage:
    """A context manager that serves the page of a run, and the run's `Spectator`.

    Attributes:
        url: The page's address.

    Args:
        title: The page's title.

    Raises:
        MissingExtraError: Jinja is not installed.
        OSError: This machine gives no port.

    Example:
        >>> with TrainingPage("spread-3") as page:
        ...     print(page.url)
        ...     cesma_sb3.run("spread-3", spectator=page)
    """

    def __init__(self, title: str) -> None:
        self.run_dir: Path | None = None
        """The run folder, once it is known."""
        self._recorder = Recorder()
        self._shown = -1
        """The number of the recording that a page has."""
        self._ended = False
        self._last_asked = -math.inf
        self._end_seen = threading.Event()
        scripts = read_scripts([*PLAYER, "training_page/page.js"])
        page = render(
            "training_page/page.html", scripts, title=title, watched=True, policies=("expert", "students")
        )
        self._server = ThreadingHTTPServer((HOST, 0), _handler(self, page.encode()))
        self.url = f"http://{HOST}:{self._server.server_address[1]}/"
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.1}, daemon=True
        )

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended = True
        if time.monotonic() - self._last_asked < _LAST_LOOK:
            self._end_seen.wait(_LAST_LOOK)
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
        self._recorder.close()

    def begin(self, run_dir: Path) -> None:
        """Show the run in this folder."""
        self.run_dir = run_dir

    def see(self, stage: str, point: CurvePoint, act: Actor, evaluator: Evaluator) -> None:
        """Record the policy that trains, if a page has the recording before (`Spectator.see`)."""
        recorder = self._recorder
        policy = "expert" if stage == "expert" else "students"
        recorder.record_if_due(policy, point, act, evaluator, wanted=self._shown == recorder.number)

    def state(self, shown: int = 0) -> dict[str, Any]:
        """Return what the page shows.

        Args:
            shown: The number of the recording that the page has.

        Returns:
            `run_dir`, the `status` of the run, whether it `ended`, `stages` (`read_stages`), the
            number of the newest recording (`recorded`), `episodes` if the page has an older one, else None,
            and why there are no more (`missing`).
        """
        self._last_asked = time.monotonic()
        self._shown = shown
        ended, run_dir, recorded = self._ended, self.run_dir, self._recorder.number
        state = {
            "run_dir": "" if run_dir is None else str(run_dir),
            "status": "" if run_dir is None else _status(run_dir),
            "ended": ended,
            "stages": {} if run_dir is None else read_stages(run_dir),
            "recorded": recorded,
            "episodes": self._recorder.episodes if recorded != shown else None,
            "missing": self._recorder.missing,
        }
        if ended:
            self._end_seen.set()
        return state


def read_stages(run_dir: Path) -> dict[str, dict[str, Any]]:
    """Read how far the stages of a run are from their logs, which may be written meanwhile.

    Args:
        run_dir: The run folder.

    Returns:
        By stage (`expert`, `students`, `fine-tuning`), in the order of the run: `samples` of the environment
        so far, `updates` of imitation, samples per second (`rate`), and `returns`, the evaluations as triples
        of samples, updates and return. None stands for what a stage does not log.
    """
    stages: dict[str, dict[str, Any]] = {}
    paths = (run_dir / "logs").glob("*/progress.csv")
    for path in sorted(paths, key=lambda path: path.stat().st_mtime):
        name, _, number = path.parent.name.rpartition("-")
        name = name if number.isdigit() else path.parent.name  # of a stage that was resumed
        stage = stages.setdefault(name, {"samples": 0, "updates": None, "rate": None, "returns": []})
        for row in _rows(path):
            samples, updates, rate = _first(row, *_SAMPLES), _first(row, _UPDATES), _first(row, *_RATES)
            stage["samples"] = stage["samples"] if samples is None else samples
            stage["updates"] = stage["updates"] if updates is None else updates
            stage["rate"] = stage["rate"] if rate is None else rate
            returned, returns = _first(row, _RETURN), stage["returns"]
            if returned is not None and (not returns or returns[-1][2] != returned):
                returns.append([stage["samples"], stage["updates"], returned])
    return stages


def _rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def _first(row: dict[str, str], *columns: str) -> float | None:
    """Return the number in the first of some columns that a row has; None without one."""
    for column in columns:
        try:
            number = float(row.get(column) or "nan")
        except (TypeError, ValueError):  # a line that is being written
            continue
        if math.isfinite(number):
            return number
    return None


def _status(run_dir: Path) -> str:
    try:
        return str(json.loads((run_dir / RUN).read_text(encoding="utf-8"))["status"])
    except (OSError, ValueError, KeyError):
        return ""


def _handler(page: TrainingPage, content: bytes) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            # Another site's script that leads its own name here is refused.
            if self.headers.get("Host") != page.url.split("/")[2]:
                self.send_error(HTTPStatus.FORBIDDEN)
            elif self.path == "/":
                self._send("text/html; charset=utf-8", content)
            elif self.path.startswith(_STATE) and (shown := self.path.removeprefix(_STATE)).isdecimal():
                self._send("application/json", json.dumps(page.state(int(shown))).encode())
            else:
                self.send_error(HTTPStatus.NOT_FOUND)

        def _send(self, kind: str, content: bytes) -> None:
            self.send_response(HTTPStatus.OK)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(content)))
            self.send_header("Cache-Control", "no-store")
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, format: str, *args: Any) -> None:
            """Log nothing: the terminal shows the progress of the run."""

    return Handler
