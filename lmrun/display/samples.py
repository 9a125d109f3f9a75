"""One sample as text: prompt, answers, what was extracted, scores. Everything from outside is made safe first."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from lmrun.display.format import number, safe
from lmrun.requests import context_as_json, response_as_json, strict_json
from lmrun.store.browse import gold_choices
from lmrun.store.records import Exchange, SampleDetail, ScoreRecord

_SHORT = 1_200
"""Characters of a prompt that a listing shows, from its end: there the question is."""
_AROUND = 30
"""Characters of an answer that are shown on each side of what a filter found in it."""


def sample_as_json(detail: SampleDetail) -> str:
    """A sample as one JSON line."""
    row = detail.row
    return strict_json(
        {
            "model": row.model,
            "task": row.label,
            "doc_id": row.doc_id,
            "status": row.status,
            "correct": row.correct,
            "truncated": row.truncated,
            "refused": row.refused,
            "no_match": row.no_match,
            "error": row.error,
            "note": {"label": detail.note.mark, "text": detail.note.text} if detail.note else None,
            "doc": detail.doc,
            "target": detail.target,
            "choices": detail.choices,
            "requests": [_exchange_json(e) for e in detail.exchanges],
            "scores": [
                {
                    "filter": s.filter,
                    "filtered": s.filtered,
                    "metrics": s.metrics,
                    "extraction": s.extraction,
                    "span": s.span,
                    "correct": s.correct,
                }
                for s in detail.scores
            ],
        },
        ensure_ascii=True,
    )


def _exchange_json(exchange: Exchange) -> dict[str, Any]:
    request = exchange.request
    return {
        "request_index": exchange.position,
        "repeat": exchange.repeat,
        "type": request.kind,
        "context": context_as_json(request.context),
        "continuation": request.continuation,
        "generation": dict(request.generation),
        "response": response_as_json(exchange.response) if exchange.response else None,
        "source": exchange.source,
    }


def sample_text(detail: SampleDetail, *, full: bool) -> str:
    """A sample as lines of text; ``full`` leaves nothing out."""
    return "\n".join(_lines(detail, full=full)) + "\n"


def _lines(detail: SampleDetail, *, full: bool) -> Iterator[str]:
    row = detail.row
    mark = {True: "✓", False: "✗", None: "·"}[row.correct] if row.status != "error" else "!"
    ambiguous = any(score.extraction == "ambiguous" for score in detail.scores)
    traits = {
        "skipped": row.status == "skipped",
        "truncated": row.truncated,
        "refused": row.refused,
        "no match": row.no_match,
        "ambiguous": ambiguous,
    }
    flags = [word for word, on in traits.items() if on]
    if row.dropped:
        flags.append(f"{row.dropped} prompt tokens cut")
    yield f"━━ {mark} {row.label} · doc {row.doc_id} · {row.model}" + "".join(f" · {flag}" for flag in flags)
    if row.error:
        yield f"error: {safe(row.error['kind'])}: {safe(row.error['message'])}"
    if detail.note:
        words = ": ".join(filter(None, (detail.note.mark, detail.note.text)))
        yield f"note: {safe(words)}"
    shown: object = None
    for exchange in detail.exchanges:
        if exchange.request.kind == "loglikelihood_rolling":
            yield from _text("text", exchange.request.continuation, full=full)
        elif exchange.request.context != shown:
            shown = exchange.request.context
            yield from _prompt(exchange, full=full)
        yield from _answer(exchange, detail, full=full)
    yield f"target: {safe(_value(detail.target))}"
    for score in detail.scores:
        metrics = "  ".join(f"{safe(name)}={safe(_value(value))}" for name, value in score.metrics.items())
        extraction = f" ({score.extraction})" if score.extraction else ""
        filtered = f" {safe(_filtered(score.filtered))}{extraction} →" if score.extraction else ""
        yield f"score[{safe(score.filter)}]:{filtered} {metrics}"
        yield from _place(score, detail)
    if full:
        yield "doc: " + safe(json.dumps(detail.doc, ensure_ascii=False, default=str))


def _text(title: str, text: str, *, full: bool) -> Iterator[str]:
    cut = not full and len(text) > _SHORT
    yield f"{title}:" + (f" (last {_SHORT:,} of {len(text):,} characters)" if cut else "")
    yield _indent(text[-_SHORT:] if cut else text)


def _prompt(exchange: Exchange, *, full: bool) -> Iterator[str]:
    context = exchange.request.context
    if isinstance(context, str):
        yield from _text("prompt", context, full=full)
        return
    for message in context:
        yield f"{message.role}:"
        yield _indent(message.content if full else message.content[-_SHORT:])


def _place(score: ScoreRecord, detail: SampleDetail) -> Iterator[str]:
    """Where in the answer a filter found what it extracted: between ⟦ and ⟧, with what stands around it."""
    response = detail.exchanges[0].response if detail.exchanges else None
    # Of several answers to one request it is not recorded which one was chosen.
    if score.span is None or response is None or response.text is None or any(e.repeat for e in detail.exchanges):
        return
    start, end = score.span
    text = response.text
    before, after = text[max(0, start - _AROUND) : start], text[end : end + _AROUND]
    found = text[start:end] if end - start <= _SHORT else text[start : start + _SHORT] + "…"
    shown = f"{'…' * (start > _AROUND)}{before}⟦{found}⟧{after}{'…' * (end + _AROUND < len(text))}"
    yield "  found: " + safe(shown).replace("\n", "⏎")


def _answer(exchange: Exchange, detail: SampleDetail, *, full: bool) -> Iterator[str]:
    request, response = exchange.request, exchange.response
    label = f"answer {exchange.repeat}" if exchange.repeat else "answer"
    if response is None:
        yield f"{label}: (not answered)"
    elif response.error:
        first = detail.row.error == {"kind": response.error.kind, "message": response.error.message}
        scored = f" {safe(json.dumps(request.continuation[:200], ensure_ascii=False))}" if request.continuation else ""
        # The first error of a sample stands above it already.
        words = "" if first else f": {safe(response.error.message)}"
        yield f"{label}{scored}: error {safe(response.error.kind)}{words}"
    elif response.skipped:
        yield f"{label}: skipped: {safe(response.skipped)}"
    elif request.kind == "generate_until":
        if response.reasoning:
            yield f"reasoning: ({len(response.reasoning):,} characters, {response.reasoning_tokens:,} tokens)"
            if full:
                yield _indent(response.reasoning)
        ended = "" if response.finish_reason == "stop" else f" ({response.finish_reason})"
        yield f"{label}{ended}:"
        yield _indent(response.text or "")
    else:
        greedy = " greedy" if response.is_greedy else ""
        tokens = f"{response.prompt_tokens}+{response.completion_tokens} tokens"
        gold = "→" if exchange.position in gold_positions(detail) else " "
        scored = request.continuation if request.kind == "loglikelihood" else ""
        text = f" {safe(json.dumps(scored[:200], ensure_ascii=False))}" if scored else ""
        yield f" {gold} {number(response.logprob):>12}{greedy} {text} ({tokens})"


def gold_positions(detail: SampleDetail) -> frozenset[int]:
    """Which choices of a sample are right; none where it has no choices."""
    # Where each choice has a prompt of its own, the text of the doc is the number of the right one.
    target = detail.text if isinstance(detail.text, int) else detail.target
    return gold_choices(target, detail.choices) if detail.choices else frozenset()


def _value(value: object) -> str:
    return number(value) if isinstance(value, float) else value if isinstance(value, str) else json.dumps(value)


def _filtered(value: object) -> str:
    """What a filter left; of a doc with one request, that one's."""
    return json.dumps(value[0] if isinstance(value, list) and len(value) == 1 else value, ensure_ascii=False)


def _indent(text: str) -> str:
    return "\n".join("  │ " + line for line in safe(text).split("\n"))
