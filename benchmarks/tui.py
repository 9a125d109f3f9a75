"""The terminal app on runs of up to a million samples: first frame, moves, processor time, memory.

python benchmarks/tui.py [--samples 1000,100000,1000000] [--keep FOLDER] [--moves 200]
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median, quantiles

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks.tuibench.make import CREATED, make_run  # noqa: E402
from benchmarks.tuibench.terminal import Terminal  # noqa: E402
from lmrun.store.runs import RunDirectory  # noqa: E402

ROUNDS = 5
PAGE_DOWN, HOME, END = "\x1b[6~", "\x1b[H", "\x1b[F"
LOG_LINES = 1_000_000
FIRST_ROW = "mmlu_000"
"""What stands in a page as soon as it has rows."""


@dataclass(frozen=True, slots=True)
class Figure:
    """A line of the table."""

    what: str
    value: str
    goal: str = ""

    def show(self) -> None:
        """Print it as soon as it is known."""
        print(f"{self.what:<58} {self.value:>26}   {self.goal}", flush=True)


def lmrun(*arguments: str) -> Terminal:
    """The command in a terminal."""
    return program("-m", "lmrun", *arguments)


def program(*arguments: str) -> Terminal:
    """This Python in a terminal, with this lmrun."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "TERM": "xterm-256color", "COLORTERM": "truecolor"}
    return Terminal([sys.executable, *arguments], environment)


def made(folder: Path, samples: int, jobs: int = 20) -> RunDirectory:
    """A run of this size; made once where ``--keep`` names a folder."""
    place = folder / f"{samples}-{jobs}"
    for known in place.glob("*/results/.."):
        return RunDirectory(known.resolve())
    return make_run(place, samples, jobs)


def milliseconds(seconds: Sequence[float]) -> str:
    """Median, 95th percentile and most."""
    far = quantiles(seconds, n=20, method="inclusive")[-1] if len(seconds) > 1 else seconds[0]
    return " / ".join(f"{1000 * value:.0f}" for value in (median(seconds), far, max(seconds))) + " ms"


def first_frames(run: RunDirectory, samples: int, _moves: int) -> Iterator[Figure]:
    """From the start of the process until rows are drawn, in turn with a process that only imports the app."""
    shown, imported, busy = [], [], []
    for _ in range(ROUNDS):
        with lmrun("show", str(run.path)) as terminal:
            shown.append(terminal.until(FIRST_ROW) - terminal.started)
            busy.append(terminal.cpu)
        with program("-c", "import lmrun.tui.app; print('imported')") as terminal:
            imported.append(terminal.until("imported") - terminal.started)
    yield Figure(f"process to first samples, {samples:,} samples", milliseconds(shown))
    yield Figure(f"processor time of that, {samples:,} samples", milliseconds(busy))
    after = [max(0.0, a - b) for a, b in zip(shown, imported, strict=True)]
    yield Figure(f"imported app to first samples, {samples:,} samples", milliseconds(after), "≤ 300 ms")


def moves(run: RunDirectory, samples: int, count: int) -> Iterator[Figure]:
    """A key of the list of samples until everything is drawn, the sample beside it included."""
    with lmrun("show", str(run.path)) as terminal:
        terminal.until(FIRST_ROW)
        terminal.rest(2.0)
        before = terminal.rss
        yield Figure(
            f"page down, {samples:,} samples",
            milliseconds([terminal.press(PAGE_DOWN) for _ in range(count)]),
            "≤ 50 ms",
        )
        ends = [terminal.press(key) for _ in range(count // 10) for key in (END, HOME)]
        yield Figure(f"end and home, {samples:,} samples", milliseconds(ends), "≤ 50 ms")
        yield Figure(
            f"next row, {samples:,} samples", milliseconds([terminal.press("j") for _ in range(count)]), "≤ 50 ms"
        )
        for _ in range(2_000):
            terminal.press(PAGE_DOWN)
        yield Figure("memory at first, and 2,000 page moves later", f"{before:.0f} → {terminal.rss:.0f} MB", "flat")


def ticks(run: RunDirectory, jobs: int, seconds: float = 15.0) -> Iterator[Figure]:
    """Processor time of a picture of the dashboard, four of which come in a second."""
    with program("-m", "benchmarks.tuibench.live", str(run.path), str(jobs)) as terminal:
        terminal.until("task_000")
        terminal.rest(2.0)
        before = terminal.cpu
        terminal.rest(seconds)
        each = (terminal.cpu - before) / (4 * seconds)
    yield Figure(f"dashboard, processor time of a tick, {jobs} jobs", f"{1000 * each:.1f} ms", "≤ 30 ms")


def log_page(run: RunDirectory, count: int) -> Iterator[Figure]:
    """A log of a million lines."""
    with run.log.open("w", encoding="utf-8") as file:
        for number in range(LOG_LINES):
            level = "warning" if number % 1000 == 0 else "debug"
            line = {"time": CREATED + number / 300, "level": level, "event": "batch", "n": 128, "line": number}
            file.write(json.dumps(line) + "\n")
    with lmrun("tui", str(run.path)) as terminal:
        terminal.until(FIRST_ROW)
        terminal.rest(1.0)
        before = terminal.rss
        terminal.press("6")
        begun = terminal.press("g")
        yield Figure(f"log of {LOG_LINES:,} lines: first key", milliseconds([begun]), "≤ 50 ms")
        terminal.press("G")
        terminal.rest(2.0)
        found = [terminal.press(key) for _ in range(count // 2) for key in ("\x1b[5~", PAGE_DOWN)]
        yield Figure(f"log of {LOG_LINES:,} lines: page", milliseconds(found), "≤ 50 ms")
        yield Figure("memory before and with the log", f"{before:.0f} → {terminal.rss:.0f} MB", "flat")


def main() -> None:
    """Measure, and print each figure as it is known."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--samples", default="1000,100000,1000000")
    parser.add_argument("--moves", type=int, default=200)
    parser.add_argument("--keep", type=Path, help="folder where made runs are kept for the next time")
    given = parser.parse_args()
    sizes = [int(size) for size in given.samples.split(",")]
    with tempfile.TemporaryDirectory() as scratch:
        folder = given.keep or Path(scratch)
        print(f"{'median / 95% / most':>85}   goal")
        parts: list[Callable[[], Iterator[Figure]]] = []
        for size in sizes:
            parts.append(lambda size=size: first_frames(made(folder, size), size, given.moves))  # type: ignore[misc]
        parts.append(lambda: moves(made(folder, sizes[-1]), sizes[-1], given.moves))
        parts += [lambda jobs=jobs: ticks(made(folder, sizes[0]), jobs) for jobs in (20, 200)]  # type: ignore[misc]
        parts.append(lambda: log_page(made(folder, sizes[0]), given.moves))
        for part in parts:
            for figure in part():
                figure.show()


if __name__ == "__main__":
    main()
