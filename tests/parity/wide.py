"""The wide comparison: many tasks, many settings, both sides. Used by the tests and by the report."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from lmrun.bundled import tasks_dir
from tests.parity.cases import SCORED, SETTINGS, Case, Setting
from tests.parity.compare import Comparison, ScoreComparison, compare_requests, compare_scores
from tests.parity.ours import CommandFailedError, Ours, Scored, halves
from tests.parity.peer import Dump, Peer

LIMIT = 20
"""Docs per task: enough for the few-shot generator to part ways if it were wrong."""


@dataclass(frozen=True)
class Line:
    """One task in one setting: what was compared, or why nothing was."""

    task: str
    setting: Setting
    result: Comparison | ScoreComparison | None
    reason: str = ""
    """lm-eval's or lmrun's error."""
    refused: bool = False
    """lmrun does not run what lm-eval runs."""

    @property
    def good(self) -> bool:
        return self.result is not None and self.result.identical

    @property
    def different(self) -> bool:
        return self.result is not None and not self.result.identical


@dataclass(frozen=True)
class Wide:
    """What is compared: tasks in every setting, groups (scores alone) where scores are."""

    tasks: Sequence[str]
    groups: Sequence[str] = ()
    settings: Sequence[Setting] = SETTINGS
    scored: Sequence[Setting] = SCORED
    limit: int = LIMIT
    bootstrap: bool = True

    def cases(self, peer: Peer) -> list[Case]:
        tasks = [self.case(peer, task, setting) for setting in self.settings for task in self.tasks]
        return tasks + [self.case(peer, group, setting) for setting in self.scored for group in self.groups]

    def case(self, peer: Peer, task: str, setting: Setting) -> Case:
        """Against lm-eval's task of that name, or our file read by lm-eval where it has none."""
        include = None if task in peer.names else tasks_dir()
        stderr = setting in self.scored
        return Case(task, setting, self.limit, stderr=stderr, bootstrap=self.bootstrap, include_path=include)


@dataclass
class Lines:
    """All that came of a comparison."""

    requests: list[Line] = field(default_factory=list)
    scores: list[Line] = field(default_factory=list)

    def __iadd__(self, other: Lines) -> Lines:
        self.requests += other.requests
        self.scores += other.scores
        return self


def compare_all(peer: Peer, ours: Ours, wide: Wide) -> Lines:
    """Everything, both sides."""
    dumps = peer.dumps(wide.cases(peer))
    lines = Lines()
    for setting in wide.settings:
        lines.requests += compare_setting(ours, wide, setting, dumps)
    refused = {line.task: line.reason for line in lines.requests if line.refused}
    for setting in wide.scored:
        lines.scores += compare_all_scores(ours, wide, setting, dumps, refused)
    return lines


def _of(wide: Wide, setting: Setting, dumps: dict[Case, Dump], names: Iterable[str]) -> dict[str, Dump]:
    wanted = set(names)
    return {c.task: d for c, d in dumps.items() if c.setting == setting and c.limit == wide.limit and c.task in wanted}


def compare_setting(ours: Ours, wide: Wide, setting: Setting, dumps: dict[Case, Dump]) -> list[Line]:
    """Requests of all tasks in one setting."""
    mine = _of(wide, setting, dumps, wide.tasks)
    found, errors = ours.preview(_able(mine), setting, wide.limit)
    lines = []
    for name, dump in mine.items():
        if "error" in dump:
            lines.append(Line(name, setting, None, dump["error"]))
        elif name in errors:
            lines.append(Line(name, setting, None, errors[name], refused=True))
        else:
            result = Comparison()
            for task, rows in dump["requests"].items():
                result += compare_requests(task, rows, found.get(task, []), setting.chat)
            lines.append(Line(name, setting, result))
    return lines


def compare_all_scores(
    ours: Ours, wide: Wide, setting: Setting, dumps: dict[Case, Dump], refused: Mapping[str, str] | None = None
) -> list[Line]:
    """Scores of all tasks and groups in one setting, answered by the stub. ``refused``: what need not be tried."""
    mine = _of(wide, setting, dumps, (*wide.tasks, *wide.groups))
    runs: dict[str, Scored | CommandFailedError | str] = dict(refused or {})
    runs.update(_score(ours, wide, [name for name in _able(mine) if name not in runs], setting))
    lines = []
    for name, dump in mine.items():
        scored = runs.get(name)
        if "error" in dump:
            lines.append(Line(name, setting, None, dump["error"]))
        elif isinstance(scored, Scored):
            lines.append(Line(name, setting, compare_scores(dump, scored)))
        else:
            lines.append(Line(name, setting, None, str(scored), refused=True))
    return lines


def _able(dumps: dict[str, Dump]) -> list[str]:
    return [name for name, dump in dumps.items() if "error" not in dump]


def _score(
    ours: Ours, wide: Wide, names: Sequence[str], setting: Setting
) -> Iterator[tuple[str, Scored | CommandFailedError]]:
    """One run of all names; where that is refused, one of each half, so that one bad task does not hide the others."""
    if not names:
        return
    try:
        scored = ours.score(names, setting, wide.limit)
        yield from ((name, scored) for name in names)
    except CommandFailedError as error:
        if len(names) == 1:
            yield names[0], error
            return
        for half in halves(names):
            yield from _score(ours, wide, half, setting)
