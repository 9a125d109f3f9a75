"""Which runs there are, how they are, and which of them are listed in which order."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from types import MappingProxyType
from typing import Any

from lmrun.engine.alive import written
from lmrun.engine.listing import RunSummary, run_summary
from lmrun.errors import LmrunError
from lmrun.store.reader import UNREADABLE
from lmrun.store.runs import RunDirectory, run_folders
from lmrun.tui.filters import Filter, Keys
from lmrun.tui.state import ENDED, LIVE, MARKS, RunState

STATES = (*MARKS, "broken")
KEYS: Keys = MappingProxyType({"name": (), "model": (), "status": STATES, "score": ()})
"""What a filter can ask of a run; other words occur in any of this, or in its id."""


@dataclass(frozen=True, slots=True)
class RunLine:
    """A run in the list."""

    run: RunDirectory
    summary: RunSummary | None
    """None: it cannot be read."""
    problem: str = ""
    """Why not."""

    @property
    def state(self) -> RunState | None:
        """None where it cannot be read."""
        if self.summary is None:
            return None
        return "running" if self.summary.live else ENDED.get(self.summary.status, "dead")

    @property
    def live(self) -> bool:
        """An engine works on it."""
        return self.state in LIVE

    @property
    def mark(self) -> str:
        """A sign for its state."""
        return MARKS[self.state] if self.state else "✗"

    @property
    def status(self) -> str:
        """Its state in a word."""
        return self.state or "broken"

    @property
    def name(self) -> str:
        """Of the manifest."""
        return self.summary.name if self.summary else self.run.id[16:-5]

    @property
    def started(self) -> datetime:
        """As its id says, which there is even where nothing can be read."""
        return datetime.strptime(self.run.id[:15], "%Y%m%d-%H%M%S")

    def seconds(self, now: float) -> float | None:
        """How long it took, or has been going on; of one that died nobody knows."""
        end = now if self.live else self.summary.finished if self.summary else None
        return None if not self.summary or not self.summary.created or not end else end - self.summary.created


class RunList:
    """The runs of a folder; those that did not change since they were read are not read again."""

    def __init__(self, runs_dir: Path) -> None:
        self._runs_dir = runs_dir
        self._known: dict[Path, tuple[Stamp, RunLine]] = {}

    def read(self) -> list[RunLine]:
        """Newest first. Takes a while the first time."""
        known, self._known = self._known, {}
        for run in run_folders(self._runs_dir):
            written, before = stamp(run), known.get(run.path)
            # Whether the engine of one that goes on is there, no file tells.
            same = before and before[0] == written and not before[1].live
            self._known[run.path] = before if before and same else (written, _line(run))
        return [line for _, line in self._known.values()]


Stamp = tuple[tuple[int, int], ...]
"""Of the files of a run: when they were written, and how large they are."""


def stamp(run: RunDirectory) -> Stamp:
    """Changes whenever something is written."""
    return tuple((about.st_mtime_ns, about.st_size) for about in written(run))


def _line(run: RunDirectory) -> RunLine:
    if not run.database.exists():
        return RunLine(run, None, "there is no run.db in it")
    try:
        return RunLine(run, run_summary(run))
    except LmrunError as error:
        hint = f"; {error.hint}" if error.hint else ""
        return RunLine(run, None, f"{error}{hint}".replace(f"{run.database}: ", ""))
    except UNREADABLE as error:
        # Whatever stands in the files of a run, the others are listed.
        return RunLine(run, None, f"it cannot be read: {error}")


ORDERS: Mapping[str, Callable[[RunLine], Any] | None] = MappingProxyType(
    {
        "started": None,
        "name": lambda line: line.name.lower(),
        "status": lambda line: STATES.index(line.status),
        "n": lambda line: -(line.summary.samples if line.summary else -1),
        "cost": lambda line: -((line.summary.usd if line.summary else None) or 0.0),
        "errors": lambda line: -(line.summary.errors if line.summary else 0),
    }
)
"""By the title of a column, what is most first; the newest first where nothing else is said."""


def _fits(line: RunLine, wanted: Filter) -> bool:
    """What is asked for holds of some model of the run; what is excluded, of none."""
    summary = line.summary
    models = list(summary.models) if summary else []
    rows = [
        {
            "name": line.name,
            "id": line.run.id,
            "model": model,
            "models": " ".join(models),
            "status": line.status,
            "score": summary.headline if summary else "",
        }
        for model in models or [""]
    ]
    asked, excluded = (
        Filter([c for c in wanted.conditions if c.negated == negated], KEYS) for negated in (False, True)
    )
    return any(map(asked.matches, rows)) and all(map(excluded.matches, rows))


def listed(lines: Sequence[RunLine], wanted: Filter, order: str) -> list[RunLine]:
    """Those that fit, in an order."""
    found = [line for line in lines if _fits(line, wanted)] if wanted else list(lines)
    key = ORDERS[order]
    return found if key is None else sorted(found, key=key)
