"""Processes that are ended: told as by Ctrl-C, told again if they go on, killed in the end."""

import os
import subprocess
import sys
import time

import pytest

from cesma_sb3.utils import processes

pytestmark = pytest.mark.integration

CHILD = """
import pathlib, sys, time
ignored, path = int(sys.argv[1]), pathlib.Path(sys.argv[2])
while True:
    try:
        if not path.exists():  # an interrupt may come as soon as this is seen
            path.write_text("started")
        while True:
            time.sleep(0.01)
    except KeyboardInterrupt:
        if not ignored:
            path.write_text("cleaned up")
            sys.exit(3)
        ignored -= 1
"""


@pytest.mark.skipif(os.name == "nt", reason="POSIX signals")
@pytest.mark.parametrize(
    ("ignored", "status", "left"), [(0, 3, "cleaned up"), (1, 3, "cleaned up"), (9, -9, "started")]
)
def test_an_interrupt_that_was_dropped_is_sent_again(tmp_path, monkeypatch, ignored, status, left):
    monkeypatch.setattr(processes, "_GRACE_SECONDS", 2.0)
    path = tmp_path / "told"
    # Tests in the background ignore interrupts, and so would their children.
    command = f"import signal; signal.signal(signal.SIGINT, signal.default_int_handler)\n{CHILD}"
    process = subprocess.Popen([sys.executable, "-c", command, str(ignored), str(path)])
    while not (path.exists() and path.read_text()):
        time.sleep(0.01)
    processes.stop([process])
    assert process.poll() == status
    assert path.read_text() == left
