"""The wide comparison as markdown, for the documentation.

::

    LMRUN_TEST_MIRROR=… LMRUN_LMEVAL_PYTHON=… python -m tests.parity.report [--tasks a,b*] [--quick] [--limit 8]
    … --fixtures             over invented rows, so that tasks without real data are compared too
    … --tasks-path lm-eval   lm-eval's own task files (or those of any folder), read by lmrun

First a summary, then what was not compared and what differs, by reason. ``--table`` adds a line for every family and
setting. What lm-eval answered is kept, so a report that was interrupted goes on where it was.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.parity.cases import QUICK, SCORED, SETTINGS
from tests.parity.compare import Comparison, ScoreComparison
from tests.parity.data import Library, fixtures_mirror, with_data
from tests.parity.ours import Ours
from tests.parity.peer import Peer
from tests.parity.wide import LIMIT, Line, Lines, Wide, compare_all

CHUNK = 60
"""Tasks that are compared together."""


@dataclass(frozen=True)
class Report:
    selected: Sequence[str]
    """Tasks that fit the patterns."""
    tasks: Sequence[str]
    """Those that have data."""
    groups: Sequence[str]
    lines: Lines
    data: Mapping[str, int]
    """By dataset the tasks that read it."""

    def markdown(self, *, table: bool) -> Iterator[str]:
        yield from self._summary()
        yield from self._datasets()
        if table:
            yield from self._table()
        yield from self._reasons()

    def _summary(self) -> Iterator[str]:
        requests, scores = _by_name(self.lines.requests), _by_name(self.lines.scores)
        compared = {name for name in self.tasks if any(line.result for line in requests.get(name, ()))}
        alike = [t for t in compared if all(_settled(line) for line in requests[t])]
        scored = [t for t in compared if all(_settled(line) for line in scores.get(t, ()))]
        groups = [g for g in self.groups if any(line.result for line in scores.get(g, ()))]
        yield "| tasks | number |"
        yield "|---|---|"
        yield f"| selected | {len(self.selected):,} |"
        yield f"| with data | {len(self.tasks):,} |"
        yield f"| compared | {len(compared):,} |"
        yield f"| identical in every request | {len(alike):,} |"
        yield f"| identical in every score | {len(scored):,} |"
        yield f"| groups compared | {len(groups):,} |"
        yield f"| groups identical | {sum(all(_settled(line) for line in scores[g]) for g in groups):,} |"
        yield ""
        yield from self._counts()

    def _datasets(self) -> Iterator[str]:
        listed = ", ".join(f"{path} ({number})" for path, number in sorted(self.data.items()))
        yield f"Datasets, each with its tasks: {listed}"
        yield ""

    def _counts(self) -> Iterator[str]:
        requests = [line.result for line in self.lines.requests if isinstance(line.result, Comparison)]
        scores = [line.result for line in self.lines.scores if isinstance(line.result, ScoreComparison)]
        different = sum(r.different for r in requests)
        wrong = sum(s.docs.different + s.values.different + s.facts.different for s in scores)
        yield f"{sum(r.compared for r in requests):,} requests compared, {different:,} different;"
        yield f"{sum(s.docs.compared for s in scores):,} metric values of docs and"
        yield f"{sum(s.values.compared for s in scores):,} aggregated values compared, {wrong:,} different."
        yield ""

    def _table(self) -> Iterator[str]:
        yield "| task | setting | requests compared | different |"
        yield "|---|---|---|---|"
        sums: dict[tuple[str, str], Comparison] = {}
        for line in self.lines.requests:
            if isinstance(line.result, Comparison):
                key = (_family(line.task, self.groups), line.setting.label)
                sums.setdefault(key, Comparison())
                sums[key] += line.result
        for (task, setting), result in sums.items():
            yield f"| {task} | {setting} | {result.compared:,} | {result.different:,} |"
        yield ""

    def _reasons(self) -> Iterator[str]:
        lines = [*self.lines.requests, *self.lines.scores]
        refused = [line for line in lines if line.refused]
        yield from _listed("lm-eval does not run", [x for x in lines if x.result is None and not x.refused])
        yield from _listed("lmrun does not run", refused)
        for line in lines:
            if line.result is not None and not line.result.identical:
                yield f"* {line.task}, {line.setting.label}: {line.result}"


def _settled(line: Line) -> bool:
    """Identical, or lm-eval itself could not run it."""
    return line.good or (line.result is None and not line.refused)


def _by_name(lines: Sequence[Line]) -> dict[str, list[Line]]:
    found: dict[str, list[Line]] = {}
    for line in lines:
        found.setdefault(line.task, []).append(line)
    return found


def _listed(title: str, lines: Sequence[Line]) -> Iterator[str]:
    reasons: dict[str, dict[str, list[str]]] = {}
    for line in lines:
        # The same reason of many tasks: names of tasks in it would tell them apart.
        reason = _one_line(line.reason).replace(line.task, "…")
        reasons.setdefault(reason, {}).setdefault(line.task, []).append(line.setting.label)
    for reason, tasks in sorted(reasons.items(), key=lambda item: -len(item[1])):
        yield f"* {title} {len(tasks)} task{'s' if len(tasks) > 1 else ''}: {reason}"
        yield f"  ({_sample(tasks)})"


def _sample(tasks: Mapping[str, Sequence[str]], limit: int = 4) -> str:
    shown = [f"{task}: {', '.join(settings)}" for task, settings in list(tasks.items())[:limit]]
    return "; ".join(shown) + (f"; … {len(tasks) - limit} more" if len(tasks) > limit else "")


def _one_line(text: str) -> str:
    return " ".join(text.split())[:400]


def _family(task: str, groups: Sequence[str]) -> str:
    fitting = [group for group in groups if task == group or task.startswith(group + "_")]
    return min(fitting, key=len) if fitting else task


def report(peer: Peer, ours: Ours, library: Library, patterns: str, *, limit: int, quick: bool) -> Report:
    """Compare all tasks and groups that fit the patterns, some of them at a time."""
    selected = library.names("task", patterns) + library.names("python", patterns)
    tasks = with_data(library, selected, peer.mirror)
    settings, scored = (QUICK, QUICK) if quick else (SETTINGS, SCORED)
    lines = Lines()
    for start in range(0, len(tasks), CHUNK):
        some = tasks[start : start + CHUNK]
        lines += compare_all(peer, ours, Wide(some, (), settings, scored, limit, bootstrap=not quick))
        sys.stderr.write(f"{start + len(some)} of {len(tasks)} tasks\n")
    groups = library.groups_of(tasks, patterns)
    for start in range(0, len(groups), CHUNK // 6):
        some = groups[start : start + CHUNK // 6]
        lines += compare_all(peer, ours, Wide((), some, (), scored[:1], limit, bootstrap=not quick))
        sys.stderr.write(f"{start + len(some)} of {len(groups)} groups\n")
    data = Counter(str(spec.path) if (spec := library.dataset(task)) else "made by code" for task in tasks)
    return Report(selected, tasks, groups, lines, data)


def main() -> None:
    parser = argparse.ArgumentParser(description="The comparison with lm-eval as markdown.")
    parser.add_argument("--tasks", default="*", help="comma-separated patterns")
    parser.add_argument("--tasks-path", help="a folder of task files; lm-eval: its own")
    parser.add_argument("--fixtures", action="store_true", help="invented rows in place of the mirror's")
    parser.add_argument("--limit", type=int, default=LIMIT, help="docs per task")
    parser.add_argument("--quick", action="store_true", help="two settings, and no bootstraps")
    parser.add_argument("--table", action="store_true", help="a line for every family and setting")
    args = parser.parse_args()
    peer = Peer.from_environment(Path() if args.fixtures else None)
    if peer is None:
        parser.error("set LMRUN_TEST_MIRROR and LMRUN_LMEVAL_PYTHON")
    own = peer.tasks_folder if args.tasks_path == "lm-eval" else args.tasks_path and Path(args.tasks_path)
    library = Library(own, peer.cache)
    if args.fixtures:
        folder = peer.cache / f"fixtures-{library.folder.name}"
        peer = Peer(peer.python, fixtures_mirror(library, library.names("task", "*"), folder))
    with tempfile.TemporaryDirectory() as folder_name:
        ours = Ours(peer.mirror, Path(folder_name), own, peer.packages if own else ())
        found = report(peer, ours, library, args.tasks, limit=args.limit, quick=args.quick)
        for line in found.markdown(table=args.table):
            sys.stdout.write(line + "\n")


if __name__ == "__main__":
    main()
