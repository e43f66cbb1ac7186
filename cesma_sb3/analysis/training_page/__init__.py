"""A page that shows a run while it trains, from a server on this machine alone that ends with the run.

The page asks for what the run folder's logs hold, once a second; training does nothing for it.
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

from cesma_sb3.training.run_folder import RUN

if TYPE_CHECKING:
    from typing_extensions import Self

HOST = "127.0.0.1"
_PAGE = Path(__file__).parent / "page.html"
_RETURN = "eval/return"
_SAMPLES = ("time/total_timesteps", "dagger/timesteps")
_RATES = ("time/fps", "dagger/steps_per_second")
_UPDATES = "dagger/n_updates"
_LAST_LOOK = 2.5
"""Seconds that a page which is open has to see how the run ended."""


class TrainingPage:
    """A context manager that serves the page of a run.

    Attributes:
        url: The page's address.

    Args:
        title: The page's title.

    Raises:
        OSError: This machine gives no port.
    """

    def __init__(self, title: str) -> None:
        self.title = title
        self.run_dir: Path | None = None
        """The run folder, once it is known."""
        self._ended = False
        self._last_asked = -math.inf
        self._end_seen = threading.Event()
        self._server = ThreadingHTTPServer((HOST, 0), _handler(self))
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

    def show(self, run_dir: Path) -> None:
        """Show the run in this folder."""
        self.run_dir = run_dir

    def state(self) -> dict[str, Any]:
        """Return what the page shows.

        Returns:
            `title`, `run_dir`, the `status` of the run, whether it `ended`, and `stages` (`read_stages`).
        """
        self._last_asked = time.monotonic()
        ended, run_dir = self._ended, self.run_dir
        shown = {
            "title": self.title,
            "run_dir": "" if run_dir is None else str(run_dir),
            "status": "" if run_dir is None else _status(run_dir),
            "ended": ended,
            "stages": {} if run_dir is None else read_stages(run_dir),
        }
        if ended:
            self._end_seen.set()
        return shown


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


def _handler(page: TrainingPage) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            # Another site's script that leads its own name here is refused.
            if self.headers.get("Host") != page.url.split("/")[2]:
                self.send_error(HTTPStatus.FORBIDDEN)
            elif self.path == "/":
                self._send("text/html; charset=utf-8", _PAGE.read_bytes())
            elif self.path == "/state":
                self._send("application/json", json.dumps(page.state()).encode())
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
