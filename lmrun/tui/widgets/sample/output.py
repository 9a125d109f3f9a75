"""What the model said: its reasoning folded, what filters found in the answer marked, and how each of them ended."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from lmrun.requests import Response
from lmrun.store.records import Exchange, SampleDetail, ScoreRecord
from lmrun.tui.text import one_line
from lmrun.tui.widgets.sample.lines import BLANK, Line, Piece, Span, flow, rule
from lmrun.tui.widgets.sample.values import error_lines, gold_text, is_right, named, value_text

_ENDED = {
    "stop": "ended by itself",
    "length": "cut off by the token limit",
    "refusal": "refused by the model or its provider",
    None: "",
}


def output_lines(detail: SampleDetail, *, unfolded: bool) -> Iterator[Line]:
    """The answers of a sample and what was extracted from them."""
    yield named("gold", gold_text(detail))
    yield BLANK
    if not detail.exchanges:
        yield from error_lines(detail.row.error)
    generated = [e for e in detail.exchanges if e.request.kind == "generate_until"]
    # Of several answers to one request it is not recorded which one a filter looked at.
    spans = found_spans(detail.scores) if len(generated) == 1 else []
    for number, exchange in enumerate(generated, start=1):
        yield from _answer(exchange, number, len(generated), spans, unfolded=unfolded)
    if not generated and detail.exchanges:
        yield from _scored(detail)
    yield from _filters(detail)


def _answer(
    exchange: Exchange, number: int, count: int, spans: Sequence[tuple[int, int]], *, unfolded: bool
) -> Iterator[Line]:
    response = exchange.response
    title = "output" if count == 1 else f"output {number} of {count}"
    if response is None:
        yield rule(title, "not answered yet")
        return
    ended = _ENDED[response.finish_reason]
    tokens = f"{response.completion_tokens:,} tokens" if response.completion_tokens else ""
    failed = "error" if response.error else "left out" if response.skipped else ""
    style = "bad" if response.error else "warn" if response.finish_reason != "stop" else "assistant"
    yield rule(title, ", ".join(words for words in (failed, ended, tokens) if words), style=style)
    if response.error:
        yield from error_lines({"kind": response.error.kind, "message": response.error.message})
        return
    if response.skipped:
        yield from flow([Piece(response.skipped)], style="warn", gutter="│ ", gutter_style="warn")
        return
    yield from _reasoning(response, unfolded=unfolded)
    yield from flow(marked(response.text or "", spans), gutter="│ ", gutter_style="assistant")
    yield BLANK


def _reasoning(response: Response, *, unfolded: bool) -> Iterator[Line]:
    if not response.reasoning:
        return
    tokens = f", {response.reasoning_tokens:,} tokens" if response.reasoning_tokens else ""
    words = f"reasoning · {len(response.reasoning):,} characters{tokens}"
    yield Line(f"{'▾' if unfolded else '▸'} {words} · r {'folds' if unfolded else 'unfolds'} it", "dim")
    if unfolded:
        yield from flow([Piece(response.reasoning)], style="dim", gutter="┆ ", gutter_style="dim")


def found_spans(scores: Sequence[ScoreRecord]) -> list[tuple[int, int]]:
    """Where filters found what they extracted, in order; of places that overlap, the first."""
    spans: list[tuple[int, int]] = []
    for start, end in sorted({(s.span[0], s.span[1]) for s in scores if s.span and len(s.span) == 2}):
        if not spans or start >= spans[-1][1]:
            spans.append((start, end))
    return spans


def marked(text: str, spans: Sequence[tuple[int, int]]) -> Iterator[Piece]:
    """A text in which what was found stands out, also without colours."""
    at = 0
    for start, end in spans:
        yield Piece(text[at:start])
        yield Piece(f"⟦{text[start:end]}⟧", "found")
        at = end
    yield Piece(text[at:])


def _scored(detail: SampleDetail) -> Iterator[Line]:
    yield rule("nothing is generated", "the model scored what was given to it")
    for exchange in detail.exchanges:
        if exchange.response and exchange.response.error:
            yield from error_lines({"kind": exchange.response.error.kind, "message": exchange.response.error.message})
            return
    yield Line("the tab Choices shows the log-likelihoods", "dim")
    yield BLANK


def _filters(detail: SampleDetail) -> Iterator[Line]:
    if not detail.scores:
        return
    yield rule("scores")
    width = max(len(score.filter) for score in detail.scores)
    for score in detail.scores:
        yield _score(score, min(24, width))


def _score(score: ScoreRecord, width: int) -> Line:
    mark, style = is_right(score.correct)
    name = one_line(score.filter, 24)
    head = f"{mark} {name:<{width}}  "
    found = f"{score.extraction.replace('_', ' ')} " if score.extraction else ""
    value = f"⟦{one_line(_filtered(score.filtered), 200)}⟧ " if score.extraction in ("matched", "ambiguous") else ""
    metrics = "  ".join(f"{one_line(name, 40)} {value_text(value)}" for name, value in score.metrics.items())
    text = f"{head}{found}{value}{metrics}"
    end = len(head) + len(found) + len(value)
    warned = "warn" if score.extraction in ("no_match", "ambiguous") else "dim"
    return Line(
        text, "", (Span(0, 1, style), Span(len(head), len(head) + len(found), warned), Span(end, len(text), "dim"))
    )


def _filtered(value: object) -> str:
    return value_text(value[0] if isinstance(value, list) and len(value) == 1 else value)
