"""Writes into a run folder until it is killed, many times over. Run as a script by `test_atomic_writes.py`.

Usage: killed_writer.py FOLDER KILLS SEED
"""

import os
import random
import signal
import sys
import time
from functools import partial
from pathlib import Path

from cesma_sb3.config.registry import load_experiment
from cesma_sb3.training.run_folder import RunFolder

SIZE = 100_000


def write_for_ever(run: RunFolder, ready: int, *, halts: bool) -> None:
    """Says when everything is there once; if it `halts`, in the middle of the next file, and stays there."""
    generation = 0
    while True:
        generation += 1
        padding = [generation] * (SIZE // 10)
        run.write_json("report.json", {"return": {}, "generation": generation, "padding": padding})
        run.write_csv("evaluations.csv", [{"generation": generation, "row": row} for row in range(200)])
        word = b"%07d" % generation
        halted = ready if halts and generation == 2 else None
        run.write_with("expert/model.bin", partial(write_slowly, word, halted))
        content = word * (SIZE // 7)
        run.write_folder("students", {"team.json": content, "team.bin": content})
        if generation == 1 and not halts:
            os.write(ready, b"!")


def write_slowly(word: bytes, halted: int | None, path: Path) -> None:
    with path.open("wb") as file:
        for part in range(SIZE // 1000):
            file.write(word * 100)
            file.flush()
            if halted is not None and part == SIZE // 2000:
                os.write(halted, b"!")
                signal.pause()


def main() -> None:
    folder, kills, generator = Path(sys.argv[1]), int(sys.argv[2]), random.Random(int(sys.argv[3]))
    experiment = load_experiment("spread-3-scripted", check_names=False)
    for number in range(kills):
        run = RunFolder.create(experiment, folder / str(number), command="killed_writer")
        readable, ready = os.pipe()
        child = os.fork()
        if child == 0:
            # On a busy machine all moments may lie between two writes: some are in the middle for sure.
            write_for_ever(run, ready, halts=number % 4 == 0)
        os.read(readable, 1)
        time.sleep(generator.uniform(0.0, 0.03))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


if __name__ == "__main__":
    main()
