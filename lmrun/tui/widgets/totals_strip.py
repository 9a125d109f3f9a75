"""The whole of a run in numbers."""

from __future__ import annotations

from collections.abc import Sequence

from textual.content import Content

from lmrun.display.format import brief, dollars, duration
from lmrun.tui.job_list import ENDED
from lmrun.tui.state import LIVE, RunView
from lmrun.tui.widgets.grid import Piece, flow
from lmrun.tui.widgets.strips import Strip
from lmrun.tui.words import bar, percentage, remaining, speed

BAR = 12
GAP = "  "


class TotalsStrip(Strip):
    """How far, how fast, how long; then hits, errors, cut answers, cost."""

    title = "totals"

    def lines(self, view: RunView, width: int) -> Sequence[Content]:
        """Progress; then what it took."""
        return [flow(_progress(view), width, GAP), flow(_account(view), width, GAP)]

    def line(self, view: RunView, width: int) -> Content:
        """What is most important of both."""
        return flow([*_progress(view)[1:], *((rank + 4, group) for rank, group in _account(view))], width, GAP)


Group = tuple[int, Sequence[Piece]]


def _progress(view: RunView) -> list[Group]:
    share = view.done / view.requests if view.requests else 0.0
    groups: list[Group] = [
        (3, [Piece(bar(share, BAR), "$primary on $foreground 10%")]),
        (0, [Piece(f"{int(100 * share)}%", "bold")]),
        (1, [Piece(f"{view.done:,}/{view.requests:,}"), Piece(" requests", "dim")]),
    ]
    if view.rate is not None and view.state in LIVE:
        groups.append((2, [Piece(speed(view.rate)), Piece(" req/s", "dim")]))
    if view.eta is not None and view.state in LIVE:
        groups.append((0, [Piece("ETA ", "dim"), Piece(remaining(view.eta), "bold")]))
    elif view.state not in LIVE:
        groups.append((2, [Piece("took ", "dim"), Piece(duration(view.elapsed))]))
    return groups


def _account(view: RunView) -> list[Group]:
    ended = sum(job.state in ENDED for job in view.jobs)
    docs = sum(job.docs for job in view.jobs if job.state == "done")
    groups: list[Group] = [
        (2, [Piece("jobs ", "dim"), Piece(f"{ended}/{len(view.jobs)}")]),
        (3, [Piece("cache ", "dim"), Piece(percentage(view.cache_hits, view.done))]),
        (0, [Piece("errors ", "dim"), Piece(f"{view.errors:,}", "bold $text-error" if view.errors else "")]),
    ]
    if view.truncated:
        groups.append((1, [Piece("truncated ", "dim"), Piece(percentage(view.truncated, docs), "$text-warning")]))
    if view.usd:
        groups.append((1, [Piece(f"${dollars(view.usd)}", "bold")]))
    if view.tokens:
        groups.append((4, [Piece(brief(view.tokens)), Piece(" tokens", "dim")]))
    return groups
