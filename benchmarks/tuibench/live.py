"""The app on a run of so many jobs that never ends: ``python -m benchmarks.tuibench.live RUN JOBS``."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

from lmrun.engine.progress import Device, ModelProgress
from lmrun.store.runs import RunDirectory
from lmrun.tui import app
from lmrun.tui.state import JobLine, RunView


class Scripted:
    """A run of which every job has moved on at each look."""

    def __init__(self, run: RunDirectory, jobs: int) -> None:
        self._looks = 0
        self._view = RunView(
            id=run.id,
            name="made",
            state="running",
            attached=True,
            phase="answering",
            detail="",
            elapsed=0.0,
            jobs=[
                JobLine(n, f"model-{n % 4}", f"task_{n:03}", "answering", 9_999, 9_999, 0, 0, 0, "acc", 0.5, (0.4, 0.6))
                for n in range(jobs)
            ],
            devices=[Device(f"{n} H200", 7e10, 1.4e11, 90.0, 600.0) for n in range(4)],
            requests=9_999 * jobs,
        )

    def look(self) -> RunView:
        """The next picture."""
        self._looks += 1
        done = self._looks * 7 % 9_999
        jobs = [replace(job, done=done, tokens_per_second=900.0 + done, eta=9_999.0 - done) for job in self._view.jobs]
        models = [
            ModelProgress(f"model-{n}", "scripted", "m", "answering", 50.0 + done % 40, 9e3 + done % 99, done % 64, 64)
            for n in range(4)
        ]
        return replace(
            self._view, elapsed=self._looks / 4, jobs=jobs, models=models, done=done * len(jobs), rate=50.0, eta=600.0
        )

    def close(self) -> None:
        """Nothing is held."""


def main() -> None:
    """Run the app."""
    run, jobs = RunDirectory(Path(sys.argv[1])), int(sys.argv[2])
    app.RunWatch = lambda _run: Scripted(run, jobs)  # type: ignore[misc,assignment]
    app.run_app(app.LmrunApp(run, runs_dir=run.path.parent))


if __name__ == "__main__":
    main()
