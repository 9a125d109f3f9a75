"""The wide comparison as a markdown table, for the documentation.

::

    LMRUN_TEST_MIRROR=… LMRUN_LMEVAL_PYTHON=… python -m tests.parity.report [--tasks a,b*] [--tasks-path DIR]

One line per task and setting; tasks whose names share a prefix with a group (``mmlu_…``) are added up unless
``--members`` is given. ``--tasks-path`` compares the tasks of a folder, such as lm-eval's own. Differences, and tasks
that could not be compared, are listed below the table.
"""

from __future__ import annotations

import argparse
import fnmatch
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.parity.cases import SCORED, SETTINGS, Setting
from tests.parity.compare import Comparison, ScoreComparison
from tests.parity.ours import Ours
from tests.parity.peer import Peer
from tests.parity.wide import Line, compare_all_scores, compare_setting, request_cases, score_cases


@dataclass(frozen=True)
class Report:
    requests: Sequence[Line]
    scores: Sequence[Line]

    def lines(self, groups: Sequence[str]) -> Iterator[str]:
        """Markdown; members of ``groups`` are added up under the group's name."""
        yield "| task | setting | requests compared | identical | scores identical |"
        yield "|---|---|---|---|---|"
        sums: dict[tuple[str, str], Comparison] = {}
        for line in self.requests:
            if isinstance(line.result, Comparison):
                sums.setdefault((_family(line.task, groups), line.setting.label), Comparison())
                sums[_family(line.task, groups), line.setting.label] += line.result
        scores = self._scores(groups)
        for (task, setting), result in sums.items():
            share = 100 * (result.compared - result.different) / result.compared
            score = scores.get((task, setting), "")
            yield f"| {task} | {setting} | {result.compared:,} | {_percent(share)} | {score} |"
        yield from self._totals(sums)
        yield from self._remarks()

    def _scores(self, groups: Sequence[str]) -> dict[tuple[str, str], str]:
        found: dict[tuple[str, str], list[bool]] = {}
        for line in self.scores:
            if line.result is not None:
                key = (_family(line.task, groups), line.setting.label)
                found.setdefault(key, []).append(line.result.identical)
        return {
            key: "yes" if all(good) else f"{sum(good)} of {len(good)}" if len(good) > 1 else "no"
            for key, good in found.items()
        }

    def _totals(self, sums: dict[tuple[str, str], Comparison]) -> Iterator[str]:
        compared = sum(c.compared for c in sums.values())
        different = sum(c.different for c in sums.values())
        values = docs = wrong = 0
        for line in self.scores:
            if isinstance(line.result, ScoreComparison):
                docs += line.result.docs.compared
                values += line.result.values.compared
                wrong += line.result.docs.different + line.result.values.different + line.result.facts.different
        yield ""
        yield f"{compared - different:,} of {compared:,} requests identical. Stub scores: {docs:,} metric values of"
        yield f"docs and {values:,} aggregated values compared, {wrong:,} differences."

    def _remarks(self) -> Iterator[str]:
        for line in (*self.requests, *self.scores):
            if line.result is None:
                yield f"* {line.task}, {line.setting.label}: not compared, lm-eval: {line.reason}"
            elif not line.result.identical:
                yield f"* {line.task}, {line.setting.label}: {line.result}"


def _percent(share: float) -> str:
    return f"{share:.0f}%" if share in (0, 100) else f"{share:.2f}%"


def _family(task: str, groups: Sequence[str]) -> str:
    fitting = [group for group in groups if task == group or task.startswith(group + "_")]
    return min(fitting, key=len) if fitting else task


def wide_report(peer: Peer, ours: Ours, pattern: str = "*", settings: Sequence[Setting] = SETTINGS) -> Report:
    """Compare all bundled tasks that fit the patterns (comma-separated)."""

    def fits(name: str) -> bool:
        return any(fnmatch.fnmatchcase(name, p) for p in pattern.split(","))

    tasks = [name for name in ours.task_names() if fits(name)]
    names = [*tasks, *(name for name in ours.group_names() if fits(name))]
    dumps = peer.dumps([*request_cases(peer, tasks, settings), *score_cases(peer, names)])
    requests = [line for setting in settings for line in compare_setting(ours, setting, dumps)]
    return Report(requests, [line for setting in SCORED for line in compare_all_scores(ours, setting, dumps)])


def main() -> None:
    parser = argparse.ArgumentParser(description="The comparison with lm-eval as a markdown table.")
    parser.add_argument("--tasks", default="*", help="comma-separated patterns")
    parser.add_argument("--tasks-path", type=Path, help="a folder of task files, for example lm-eval's own")
    parser.add_argument("--members", action="store_true", help="a line for every member of a group")
    args = parser.parse_args()
    peer = Peer.from_environment()
    if peer is None:
        parser.error("set LMRUN_TEST_MIRROR and LMRUN_LMEVAL_PYTHON")
    with tempfile.TemporaryDirectory() as folder:
        ours = Ours(peer.mirror, Path(folder), args.tasks_path)
        report = wide_report(peer, ours, args.tasks)
        for line in report.lines([] if args.members else ours.group_names()):
            sys.stdout.write(line + "\n")


if __name__ == "__main__":
    main()
