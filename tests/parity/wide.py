"""The wide comparison: every bundled task, every setting, both sides. Used by the tests and by the report."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from lmrun.bundled import tasks_dir
from tests.parity.cases import SCORED, SETTINGS, Case, Setting
from tests.parity.compare import Comparison, ScoreComparison, compare_requests, compare_scores
from tests.parity.ours import CommandFailedError, Ours, Scored
from tests.parity.peer import Dump, Peer

LIMIT = 20
"""Docs per task: enough for the few-shot generator to part ways if it were wrong."""
BOOTSTRAP = 100_000
"""lm-eval's own number of draws."""


@dataclass(frozen=True)
class Line:
    """One task in one setting. ``result`` is None where lm-eval itself could not run it, for ``reason``."""

    task: str
    setting: Setting
    result: Comparison | ScoreComparison | None
    reason: str = ""


def case(peer: Peer, task: str, setting: Setting, bootstrap_iters: int = 0) -> Case:
    """A case of a bundled task: against lm-eval's task of that name, or our file read by lm-eval where it has none."""
    include = None if task in peer.names else tasks_dir()
    return Case(task, setting, LIMIT, bootstrap_iters=bootstrap_iters, include_path=include)


def request_cases(peer: Peer, tasks: Iterable[str], settings: Sequence[Setting] = SETTINGS) -> list[Case]:
    return [case(peer, task, setting) for setting in settings for task in tasks]


def score_cases(peer: Peer, names: Iterable[str], settings: Sequence[Setting] = SCORED) -> list[Case]:
    return [case(peer, name, setting, BOOTSTRAP) for setting in settings for name in names]


def compare_setting(ours: Ours, setting: Setting, dumps: dict[Case, Dump]) -> list[Line]:
    """Requests of all tasks in one setting."""
    mine = {c: dump for c, dump in dumps.items() if c.setting == setting and not c.bootstrap_iters}
    able = [c.task for c, dump in mine.items() if "error" not in dump]
    found, errors = ours.preview(able, setting, LIMIT)
    lines = []
    for c, dump in mine.items():
        if "error" in dump:
            lines.append(Line(c.task, setting, None, dump["error"]))
            continue
        result = Comparison()
        if c.task in errors:
            result.add(False, f"lmrun refuses: {errors[c.task]}")
        else:
            for task, rows in dump["requests"].items():
                result += compare_requests(task, rows, found.get(task, []), setting.chat)
        lines.append(Line(c.task, setting, result))
    return lines


def compare_all_scores(ours: Ours, setting: Setting, dumps: dict[Case, Dump]) -> list[Line]:
    """Scores of all tasks and groups in one setting, answered by the stub."""
    mine = {c: dump for c, dump in dumps.items() if c.setting == setting and c.bootstrap_iters}
    runs = _score(ours, [c.task for c, dump in mine.items() if "error" not in dump], setting)
    lines = []
    for c, dump in mine.items():
        if "error" in dump:
            lines.append(Line(c.task, setting, None, dump["error"]))
            continue
        scored = runs[c.task]
        if isinstance(scored, str):
            refused = Comparison()
            refused.add(False, f"lmrun refuses: {scored}")
            lines.append(Line(c.task, setting, refused))
        else:
            lines.append(Line(c.task, setting, compare_scores(dump, scored)))
    return lines


def _score(ours: Ours, names: Sequence[str], setting: Setting) -> dict[str, Scored | str]:
    """One run of all names; where that is refused, one run for each, so that one bad task does not hide the others."""
    try:
        scored = ours.score(names, setting, LIMIT)
    except CommandFailedError as error:
        if len(names) == 1:
            return {names[0]: str(error)}
        runs: dict[str, Scored | str] = {}
        for name in names:
            runs.update(_score(ours, [name], setting))
        return runs
    return dict.fromkeys(names, scored)
