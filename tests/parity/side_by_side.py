"""Scores of one model, lm-eval's beside lmrun's.

::

    LMRUN_TEST_MIRROR=… LMRUN_LMEVAL_PYTHON=… python -m tests.parity.side_by_side --model FOLDER [--limit 100] [--all]

Prints a markdown table: task, metric, lm-eval's value, lmrun's value, their difference; and below it how far single
responses differ. ``--all`` also prints the members of groups.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from lmrun.bundled import demo_model_dir
from tests.parity.cases import Case, Setting
from tests.parity.compare import compare_responses
from tests.parity.ours import Ours, Scored
from tests.parity.peer import Dump, Peer

TASKS = ("gsm8k", "hellaswag", "arc_challenge", "mmlu", "lambada_openai", "wikitext", "truthfulqa_mc2")
SETTING = Setting("as the task says")


def side_by_side(
    peer: Peer, ours: Ours, model: str, limit: int, tasks: tuple[str, ...] = TASKS, *, members: bool = False
) -> Iterator[str]:
    """Lines of the table and of the notes below it."""
    folder = str(demo_model_dir()) if model == "bundled:demo" else str(Path(model).resolve())
    cases = [Case(task, SETTING, limit, model=folder, stderr=True) for task in tasks]
    dumps = peer.dumps(cases)
    started = time.monotonic()
    entry = {"backend": "hf", "model": model, "device": "cpu", "dtype": "float32"}
    scored = ours.score(tasks, SETTING, limit, entry)
    took = time.monotonic() - started
    yield "| task | metric | lm-eval | lmrun | Δ |"
    yield "|---|---|---|---|---|"
    notes = []
    for case, dump in dumps.items():
        if "error" in dump:
            yield f"| {case.task} | | {dump['error']} | | |"
            continue
        yield from _rows(dump, scored, None if members else case.task)
        responses, largest = compare_responses(dump, scored)
        notes.append(f"{case.task}: responses {responses}; largest difference of two log-probabilities {largest:.2e}")
    yield ""
    yield from notes
    theirs = sum(dump["seconds"] for dump in dumps.values())
    yield f"\nlm-eval {theirs:.0f} s without its start; lmrun {took:.0f} s in all"


def _rows(dump: Dump, scored: Scored, only: str | None) -> Iterator[str]:
    for name, entry in dump["results"].items():
        if only is not None and name != only:
            continue
        mine = scored.results["results"].get(name, {})
        for key, a in entry.items():
            if "," in key:
                b = mine.get(key)
                yield f"| {name} | {key} | {_number(a)} | {_number(b)} | {_difference(a, b)} |"


def _number(value: Any) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _difference(a: Any, b: Any) -> str:
    if a == b:
        return "0"
    return f"{b - a:.1e}" if isinstance(a, int | float) and isinstance(b, int | float) else "≠"


def main() -> None:
    parser = argparse.ArgumentParser(description="Scores of one model, lm-eval's beside lmrun's.")
    parser.add_argument("--model", required=True, help="a folder with a transformers model, or bundled:demo")
    parser.add_argument("--limit", type=int, default=100)
    parser.add_argument("--tasks", default=",".join(TASKS))
    parser.add_argument("--all", action="store_true", help="print the members of groups too")
    args = parser.parse_args()
    peer = Peer.from_environment()
    if peer is None:
        parser.error("set LMRUN_TEST_MIRROR and LMRUN_LMEVAL_PYTHON")
    with tempfile.TemporaryDirectory() as folder:
        ours = Ours(peer.mirror, Path(folder))
        for line in side_by_side(peer, ours, args.model, args.limit, tuple(args.tasks.split(",")), members=args.all):
            sys.stdout.write(line + "\n")
            sys.stdout.flush()


if __name__ == "__main__":
    main()
