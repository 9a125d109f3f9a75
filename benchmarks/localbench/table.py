"""Measure works, and print a line for each."""

from __future__ import annotations

import json
import statistics
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from measuring import measured

from lmrun.backends.tokenize import Encoder
from localbench.models import POSITIONS
from localbench.programs import ROOT, LmEval, Lmrun, Result, Setting
from localbench.tasks import Work, made, save_task
from localbench.trie import model_inputs, trie_tokens
from localbench.uneven import SPARE, with_stops

BATCH_SIZES = (1, 8, 32, 64)
HEAD = (
    f"{'':32} {'lmrun':>9} {'lm-eval':>9} {'ratio':>7} {'goal':>7}  {'memory MB':>15}  "
    f"{'forwarded':>10} {'probed':>7} {'distinct':>9} {'ratio':>6} {'goal':>6}  "
    f"{'bound':>8} {'ratio':>6}  {'batch':>5}  scores"
)


@dataclass(frozen=True)
class Bench:
    """How much is measured, and with whom it is compared."""

    setting: Setting
    turns: int
    limit: int | None
    peer: str | None
    """lm-eval's Python; None: lmrun alone."""
    batch_size: int | None

    def line(self, work: Work) -> str:
        """Measure one work."""
        docs = self._prepare(work)
        ours, theirs = Lmrun(self.setting), self._lm_eval(work, docs)
        turns = [(ours.run(work), theirs.run(work) if theirs else None) for _ in range(self.turns)]
        mine = [result for result, _ in turns]
        peers = [result for _, result in turns if result]
        timed = _timed(mine, peers, work.goals[1])
        return f"{work.what:32} {timed}  {self._counted(work, mine)}  {_compared(mine[-1], peers[-1:], theirs)}"

    def _prepare(self, work: Work) -> int:
        """Write task and data; returns how many docs there are."""
        docs = min(work.docs, self.limit or work.docs)
        data = made(work, docs * SPARE if work.generates else docs)
        if work.generates:
            data = with_stops(data, docs, self.setting.model, self.setting.device)
        save_task(self.setting.folder / "tasks", work, data)
        return len(data.docs)

    def _lm_eval(self, work: Work, docs: int) -> LmEval | None:
        if self.peer is None:
            return None
        setting = self.setting
        if self.batch_size or docs == 1:
            return LmEval(setting, self.peer, self.batch_size or 1)
        script, tasks = ROOT / "benchmarks" / "localbench" / "pilot.py", setting.folder / "tasks"
        command = [self.peer, str(script), str(setting.model), setting.dtype, setting.device, work.task, str(tasks)]
        took = _json([*command, str(docs), "4" if "choice" in work.yaml else "1", *map(str, BATCH_SIZES)], setting)
        return LmEval(setting, self.peer, int(min(took, key=lambda size: took[size])))

    def _counted(self, work: Work, results: Sequence[Result]) -> str:
        counts = results[-1].counts
        requests = [request for request, _ in results[-1].requests]
        distinct = trie_tokens(model_inputs(self._encoder, requests, POSITIONS))
        forwarded, goal = counts["forwarded_tokens"], work.goals[0]
        generated = sum(response.completion_tokens for _, response in results[-1].requests) if work.generates else 0
        per_token = self._machine["logits" if "rolling" in work.yaml else "forward"]
        bound = distinct * per_token + generated * self._machine["step"]
        took = statistics.median(result.ended.seconds for result in results)
        probed, wanted = counts.get("probed_tokens", 0), f"≤ {goal}" if goal else ""
        counted = f"{forwarded:>10,} {probed:>7,} {distinct:>9,} {forwarded / distinct:>6.2f} {wanted:>6}"
        return f"{counted}  {bound:>6.2f} s {took / bound:>6.1f}"

    @cached_property
    def _encoder(self) -> Encoder:
        from transformers import AutoTokenizer

        return Encoder(AutoTokenizer.from_pretrained(self.setting.model))

    @cached_property
    def _machine(self) -> Mapping[str, float]:
        """Seconds per token."""
        setting = self.setting
        script = ROOT / "benchmarks" / "localbench" / "forward.py"
        return _json([sys.executable, str(script), str(setting.model), setting.dtype, setting.device], setting)


def _json(command: Sequence[str], setting: Setting) -> dict[str, Any]:
    """What a script prints in its last line."""
    ended = measured(command, setting.folder, setting.environment())
    if ended.code:
        raise RuntimeError(f"{command[1]}: {ended.stderr[-4000:]}")
    found: dict[str, Any] = json.loads(ended.stdout.splitlines()[-1])
    return found


def _timed(mine: Sequence[Result], peers: Sequence[Result], goal: float) -> str:
    ours = statistics.median(result.ended.seconds for result in mine)
    memory = max(result.ended.rss for result in mine)
    if not peers:
        return f"{ours:>7.1f} s {'–':>9} {'–':>7} {f'≥ {goal:g} x':>7}  {memory:>6,.0f} {'':>8}"
    theirs = statistics.median(result.ended.seconds for result in peers)
    their_memory = max(result.ended.rss for result in peers)
    ratio = f"{theirs / ours:>5.1f} x"
    return f"{ours:>7.1f} s {theirs:>7.1f} s {ratio} {f'≥ {goal:g} x':>7}  {memory:>6,.0f} : {their_memory:>6,.0f}"


def _compared(mine: Result, peers: Sequence[Result], peer: LmEval | None) -> str:
    """Whether both programs answered the same."""
    if not peers or peer is None:
        return "–"
    (theirs,) = peers
    pairs = [(mine.answers[place], theirs.answers[place]) for place in mine.answers]
    if len(pairs) != len(theirs.answers):
        return f"{len(pairs)} answers of {len(theirs.answers)}"
    same = {name for name, value in mine.metrics.items() if _close(value, theirs.metrics.get(name))}
    other = ", ".join(sorted(set(mine.metrics) - same))
    texts = [a == b for a, b in pairs if isinstance(a, str)]
    furthest = max((abs(a - b) for a, b in pairs if isinstance(a, float) and isinstance(b, float)), default=0.0)
    found = f"{sum(texts)} of {len(texts)} texts equal" if texts else f"Δ logprob ≤ {furthest:.1e}"
    return f"{peer.batch_size:>5}  {found}; {f'other {other}' if other else 'equal metrics'}"


def _close(a: float, b: float | None) -> bool:
    return b is not None and abs(a - b) <= 1e-5 * max(abs(a), abs(b), 1.0)
