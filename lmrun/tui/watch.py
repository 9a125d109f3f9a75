"""Where pages get their picture of a run: from the engine while it lives, from the run's files otherwise."""

from __future__ import annotations

import time
from typing import Any

from lmrun.engine.results import headline
from lmrun.store.reader import RunReader
from lmrun.store.runs import RunDirectory
from lmrun.tui.state import JobLine, RunState, RunView

_STATES: dict[str, RunState] = {"complete": "complete", "incomplete": "incomplete", "interrupted": "interrupted"}


class RunWatch:
    """Looks at one run. Not shared between threads at one time."""

    def __init__(self, run: RunDirectory) -> None:
        self._run = run

    def look(self) -> RunView:
        """The run now."""
        reader = RunReader(self._run)
        try:
            info = reader.info()
            jobs = [
                JobLine(
                    id=job.id,
                    model=job.model,
                    label=job.label,
                    state="done" if job.status == "scored" else job.status,
                    docs=job.n_docs,
                    requests=job.requests,
                    done=job.requests,
                    cache_hits=job.cache_hits,
                    errors=job.n_errors,
                    metric=headline(reader.metrics(job.id)),
                )
                for job in reader.jobs()
            ]
        finally:
            reader.close()
        return RunView(
            id=self._run.id,
            name=str(info.get("name", self._run.id)),
            state=_STATES.get(str(info.get("status")), "dead"),
            attached=False,
            phase="",
            detail="",
            elapsed=_elapsed(info),
            jobs=jobs,
            facts=info,
        )

    def close(self) -> None:
        """Let go of the run's files."""


def _elapsed(info: dict[str, Any]) -> float:
    created = info.get("created")
    return float(info.get("finished") or time.time()) - created if isinstance(created, int | float) else 0.0
