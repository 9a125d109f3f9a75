"""Everything else that is known of a sample."""

from __future__ import annotations

import json
from collections.abc import Iterator

from lmrun.store.notes import Note
from lmrun.store.records import Exchange, JobView, SampleDetail
from lmrun.tui.text import one_line
from lmrun.tui.widgets.sample.lines import BLANK, Line, Piece, flow, rule
from lmrun.tui.widgets.sample.values import error_lines, gold_text, is_right, named, value_text


def meta_lines(detail: SampleDetail, job: JobView, note: Note | None) -> Iterator[Line]:
    """Label, sample, scores, requests, doc."""
    row = detail.row
    if note:
        yield rule("label", style="warn")
        yield named(one_line(note.mark, 40) or "note", "", "warn")
        yield from flow([Piece(note.text)], gutter="│ ", gutter_style="warn")
    yield rule("sample", style="strong")
    yield named("model", one_line(row.model, 80))
    yield named(
        "task", f"{one_line(row.label, 80)} · version {one_line(str(job.version), 20)} · {job.num_fewshot}-shot"
    )
    yield named("doc", str(row.doc_id))
    yield named("status", _status(detail))
    yield named("gold", gold_text(detail))
    yield from error_lines(row.error)
    yield BLANK
    if detail.scores:
        yield rule("scores by filter", style="strong")
        for score in detail.scores:
            mark, style = is_right(score.correct)
            yield named(one_line(score.filter, 24), mark, style, 18)
            for name, value in score.metrics.items():
                yield named(f"  {one_line(name, 40)}", value_text(value), "", 18)
        yield BLANK
    yield rule("requests", style="strong")
    for exchange in detail.exchanges:
        yield from _exchange(exchange)
    yield BLANK
    yield rule("doc", style="strong")
    yield from flow([Piece(json.dumps(detail.doc, ensure_ascii=False, indent=2, default=str))])


def _status(detail: SampleDetail) -> str:
    row = detail.row
    right = {True: "right", False: "wrong", None: ""}[row.correct]
    traits = [
        row.status,
        right,
        "truncated" if row.truncated else "",
        "refused" if row.refused else "",
        "no match" if row.no_match else "",
        f"{row.dropped:,} prompt tokens cut" if row.dropped else "",
    ]
    return " · ".join(trait for trait in traits if trait)


def _exchange(exchange: Exchange) -> Iterator[Line]:
    response = exchange.response
    again = f" repeat {exchange.repeat}" if exchange.repeat else ""
    yield named(f"{exchange.position}{again}", f"{exchange.request.kind} · {exchange.key}", "", 4)
    if response is None:
        yield named("", "not answered yet", "dim", 4)
        return
    words = [
        {"cache": "from the cache", "computed": "computed", "error": "error"}.get(exchange.source or "", ""),
        f"{response.prompt_tokens:,} + {response.completion_tokens:,} tokens",
        f"{response.cached_tokens:,} cached there" if response.cached_tokens else "",
        f"{response.attempts} attempts" if response.attempts != 1 else "",
        f"ended: {response.finish_reason}" if response.finish_reason else "",
    ]
    yield named("", " · ".join(word for word in words if word), "dim", 4)
    for name, value in response.notes.items():
        yield named("", f"{one_line(str(name), 40)}: {value_text(value)}", "warn", 4)
    if response.error:
        yield from error_lines({"kind": response.error.kind, "message": response.error.message})
