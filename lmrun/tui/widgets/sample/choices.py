"""How likely the model found each choice: bars of log-likelihoods, raw and per character."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from lmrun.display.samples import gold_positions
from lmrun.requests import Response
from lmrun.store.records import Exchange, SampleDetail
from lmrun.tui.text import one_line
from lmrun.tui.widgets.sample.lines import BLANK, Line, Span, rule
from lmrun.tui.widgets.sample.values import error_lines, named

_EIGHTHS = " ▏▎▍▌▋▊▉"
_LEAST = 0.06
"""Of the room, the bar of the least likely choice: it is seen that it is there."""


def choice_lines(detail: SampleDetail, width: int) -> Iterator[Line]:
    """Bars of a multiple-choice doc; the numbers of one that has no choices."""
    scored = [e for e in detail.exchanges if e.request.kind != "generate_until"]
    failed = next((e.response.error for e in scored if e.response and e.response.error), None)
    if failed:
        yield from error_lines({"kind": failed.kind, "message": failed.message})
    elif not scored:
        yield Line("no choices: the answer is generated", "dim")
    elif not detail.choices:
        for exchange in scored:
            yield from _single(exchange)
    else:
        yield from _bars(detail, scored[: len(detail.choices)], width)
        if len(scored) > len(detail.choices):
            yield Line("each choice was scored without its context too, for acc_mutual_info", "dim")


def _bars(detail: SampleDetail, exchanges: Sequence[Exchange], width: int) -> Iterator[Line]:
    from lmrun.scoring.process import argmax

    choices = detail.choices or ()
    raw = [_logprob(e.response) for e in exchanges]
    per = [ll / max(1, len(choice)) for ll, choice in zip(raw, choices, strict=False)]
    first, first_per, golds = argmax(raw), argmax(per), gold_positions(detail)
    yield Line("→ gold  ◂ chosen · log-likelihood: the longest bar is the likeliest", "dim")
    for place, (exchange, choice) in enumerate(zip(exchanges, choices, strict=False)):
        gold = place in golds
        yield BLANK
        text = f"{'→' if gold else ' '} {one_line(choice)}"
        yield Line(text, "strong" if gold or place == first else "", (Span(0, 1, "good"),))
        greedy = " · greedy" if exchange.response and exchange.response.is_greedy else ""
        share = f" {_share(raw, place):4.0%}"
        yield _bar("sum", raw, place, width, f"{share}{' ◂ chosen' if place == first else ''}{greedy}")
        yield _bar("per char", per, place, width, " ◂ chosen" if place == first_per else "")


def _logprob(response: Response | None) -> float:
    return math.nan if response is None or response.logprob is None else response.logprob


def _share(values: Sequence[float], place: int) -> float:
    """The probability of one choice where there are only these."""
    finite = [v for v in values if math.isfinite(v)]
    if not math.isfinite(values[place]):
        return 0.0
    top = max(finite)
    return math.exp(values[place] - top) / sum(math.exp(v - top) for v in finite)


def _bar(name: str, values: Sequence[float], place: int, width: int, words: str) -> Line:
    head = f"  {name:<8} {values[place]:>9.3f} "
    room = max(6, min(40, width - len(head) - 24))
    bar = bar_text(_length(values, place), room)
    text = f"{head}{bar}{words}"
    chosen = "good" if "◂" in words else "bar"
    spans = (
        Span(0, 10, "dim"),
        Span(len(head), len(head) + len(bar), chosen),
        Span(len(head) + len(bar), len(text), ""),
    )
    return Line(text, "", spans[:2])


def _length(values: Sequence[float], place: int) -> float:
    finite = [v for v in values if math.isfinite(v)]
    if not math.isfinite(values[place]):
        return 0.0
    low, high = min(finite), max(finite)
    return 1.0 if low == high else _LEAST + (1 - _LEAST) * (values[place] - low) / (high - low)


def bar_text(share: float, room: int) -> str:
    """A bar in exactly ``room`` cells."""
    eighths = round(share * room * 8)
    whole, rest = divmod(eighths, 8)
    return ("█" * whole + (_EIGHTHS[rest] if rest else "")).ljust(room)


def _single(exchange: Exchange) -> Iterator[Line]:
    request, response = exchange.request, exchange.response
    rolling = request.kind == "loglikelihood_rolling"
    text = request.continuation
    yield rule("the whole text" if rolling else "the continuation")
    if not rolling:
        yield Line("┃" + one_line(text), "", (Span(0, 1, "join"),))
    if response is None or response.logprob is None:
        yield Line("not answered yet", "dim")
        return
    size = len(text.encode("utf-8", "surrogatepass"))
    yield named("sum", f"{response.logprob:.4f}")
    for name, count in (("per token", response.completion_tokens), ("per char", len(text)), ("per byte", size)):
        if count:
            yield named(name, f"{response.logprob / count:.4f}   of {count:,}")
    if not rolling:
        yield named("greedy", "yes: the model would have written exactly this" if response.is_greedy else "no")
