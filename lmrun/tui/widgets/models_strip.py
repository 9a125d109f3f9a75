"""The models of a run: how fast they are, how much is in flight, what they cost."""

from __future__ import annotations

from collections.abc import Sequence

from textual.content import Content

from lmrun.display.format import brief, dollars
from lmrun.engine.progress import ModelProgress
from lmrun.tui.state import RunView
from lmrun.tui.text import one_line
from lmrun.tui.widgets.grid import Piece, Place, flow, grid
from lmrun.tui.widgets.strips import Strip
from lmrun.tui.words import sparkline, speed

MOST = 6
"""Models that are listed; the first ones that work come first where there are more."""
SPARK, LONG_SPARK = 12, 40
"""Cells of a sparkline, and where there is much room."""

MARKS = {
    "answering": ("▸", "bold $text-accent"),
    "loading": ("◌", "$text-accent"),
    "checking": ("◌", "$text-accent"),
    "paused": ("‖", "$text-warning"),
    "done": ("✓", "$text-success"),
    "failed": ("✗", "bold $text-error"),
}
_PLACES = (
    Place(),
    Place(most=24),
    Place(fill=True, rank=5, most=200),
    Place(least=9),
    Place(least=10, right=True),
    Place(rank=4),
    Place(least=8, right=True, rank=6),
    Place(least=9, right=True, rank=2),
    Place(rank=3),
    Place(rank=7, right=True),
    Place(rank=8, right=True),
    Place(rank=1, right=True),
)


class ModelsStrip(Strip):
    """A line per model."""

    title = "models"

    def lines(self, view: RunView, width: int) -> Sequence[Content]:
        """Those that work first, where there are too many."""
        models = listed(view.models)
        cells = SPARK if width < 150 else LONG_SPARK
        sparks = [sparkline(tuple(view.history.get(model.name, ())), cells) for model in models]
        lines = grid([_row(model, spark) for model, spark in zip(models, sparks, strict=True)], _PLACES, width)
        if hidden := len(view.models) - len(models):
            lines.append(Content.styled(f"… {hidden} more", "dim"))
        return lines or [Content.styled("no models yet", "dim")]

    def line(self, view: RunView, width: int) -> Content:
        """Models behind each other, those that work first."""
        models = sorted(view.models, key=_rank)
        if not models:
            return Content.styled("no models yet", "dim")
        groups = [_short(model, alone=len(models) == 1) for model in models]
        for hidden in range(len(groups)):
            more = [[Piece(f"+{hidden}", "dim")]] if hidden else []
            line = flow([(0, group) for group in groups[: len(groups) - hidden] + more], width, "   ")
            if line.cell_length <= width:
                break
        return line


def listed(models: Sequence[ModelProgress]) -> Sequence[ModelProgress]:
    """As many as there is room for, in the order of the run."""
    if len(models) <= MOST:
        return models
    ranked = sorted(models, key=_rank)[: MOST - 1]
    return [model for model in models if model in ranked]


def _rank(model: ModelProgress) -> int:
    return {"waiting": 1, "done": 2}.get(model.state, 0)


def _row(model: ModelProgress, spark: str) -> Sequence[Piece]:
    mark, style = MARKS.get(model.state, ("·", "dim"))
    source = f"{model.backend} · {model.model}" if model.model != model.name else model.backend
    return (
        Piece(mark, style),
        Piece(one_line(model.name), "bold" if model.state in MARKS else ""),
        Piece(one_line(source), "dim"),
        Piece(one_line(model.state), "$text-error" if model.state == "failed" else ""),
        Piece(_tokens(model), "bold"),
        Piece(spark if spark.strip() else "", "$primary"),
        Piece(f"{speed(model.requests_per_second)} req/s" if model.requests_per_second is not None else ""),
        Piece(_flight(model)),
        Piece(one_line(f"↓ {model.held_by}") if model.held_by else "", "$text-warning"),
        Piece(f"{model.retries:,} retries" if model.retries else "", "$text-warning"),
        Piece(f"{brief(model.tokens)} tokens" if model.tokens else "", "dim"),
        Piece(f"${dollars(model.usd)}" if model.usd else ""),
    )


def _tokens(model: ModelProgress) -> str:
    return f"{speed(model.tokens_per_second)} tok/s" if model.tokens_per_second is not None else ""


def _flight(model: ModelProgress) -> str:
    if model.in_flight is None:
        return f"batch {model.limit:,}" if model.limit else ""
    return f"{model.in_flight:,}/{model.limit:,} in flight" if model.limit else f"{model.in_flight:,} in flight"


def _short(model: ModelProgress, *, alone: bool) -> list[Piece]:
    """``alone``: there is room for more than its speed."""
    mark, style = MARKS.get(model.state, ("·", "dim"))
    slow = "" if model.requests_per_second is None else f"{speed(model.requests_per_second)} req/s"
    words = [_tokens(model) or slow or model.state]
    if alone:
        words += [slow if _tokens(model) else "", _flight(model), f"{model.retries:,} retries" if model.retries else ""]
        words += [f"{brief(model.tokens)} tokens" if model.tokens else ""]
    pieces = [Piece(f"{mark} ", style), Piece(one_line(model.name), "bold")]
    pieces += [Piece(f"  {one_line(text)}") for text in words if text]
    return [*pieces, Piece(f"  ↓ {one_line(model.held_by)}", "$text-warning")] if model.held_by else pieces
