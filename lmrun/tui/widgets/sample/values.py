"""Small things that several views of a sample share."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping

from lmrun.display.format import number
from lmrun.display.samples import gold_positions
from lmrun.store.records import SampleDetail
from lmrun.tui.text import one_line
from lmrun.tui.widgets.sample.lines import Line, Piece, Span, flow


def value_text(value: object, limit: int = 300) -> str:
    """A value of a doc or a score in one line."""
    if isinstance(value, bool) or value is None:
        return json.dumps(value)
    if isinstance(value, float):
        return number(value)
    return one_line(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str), limit)


def gold_text(detail: SampleDetail) -> str:
    """What would have been right: of choices their texts."""
    if golds := gold_positions(detail):
        return " | ".join(one_line((detail.choices or ())[place]) for place in sorted(golds))
    return value_text(detail.target)


def named(name: str, text: str, style: str = "", width: int = 12) -> Line:
    """``name        text``."""
    head = f"{name:<{width}} "
    spans = (Span(0, len(head), "dim"), *((Span(len(head), len(head) + len(text), style),) if style else ()))
    return Line(head + text, "", spans)


def error_lines(error: Mapping[str, str] | None) -> Iterator[Line]:
    """What went wrong, in full."""
    if error:
        yield Line(f"! {one_line(error['kind'], 80)}", "bad")
        yield from flow([Piece(error["message"])], gutter="│ ", gutter_style="bad")


def is_right(correct: bool | None) -> tuple[str, str]:
    """A mark and how it is drawn."""
    return ("·", "dim") if correct is None else ("✓", "good") if correct else ("✗", "bad")
