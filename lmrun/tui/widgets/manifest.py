"""The text of a manifest with its lines, and what was found out about it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich.text import Text
from textual.app import ComposeResult
from textual.containers import Vertical, VerticalScroll
from textual.widgets import Static

from lmrun.display.format import brief, dollars, job_name
from lmrun.tui.manifests import Checked, Line, near
from lmrun.tui.text import one_line, shown
from lmrun.tui.widgets.virtual import Cell, Column, Fetch, Row, VirtualTable

NEVER = 1_000_000
"""Columns of a terminal that is never so wide."""
_COUNTS = (
    (Column("requests", 8, right=True, least=54), "requests"),
    (Column("in cache", 8, right=True, least=82), "cached"),
    (Column("to ask", 7, right=True, least=46), "to_ask"),
    (Column("tokens", 7, right=True, least=62), "prompt_tokens"),
    (Column("≤ new", 7, right=True, least=90), "new_tokens"),
)
"""A column, and the name of its count in ``lmrun plan --json``."""


def plan_columns(models: int) -> Sequence[Column]:
    """Those of the plan; that of the model only where there are several."""
    return (
        Column("task", 0, middle=True),
        Column("model", 14, least=34 if models > 1 else NEVER),
        Column("docs", 7, right=True),
        *(column for column, _ in _COUNTS),
        Column("USD", 13, right=True, least=74),
    )


def source_fetch(lines: Sequence[str], wrong: frozenset[int]) -> Fetch:
    """Rows of the text: number, ``✗`` where something is wrong, the line."""

    def fetch(start: int, stop: int) -> list[Row]:
        return [_source_row(number, line, wrong) for number, line in enumerate(lines[start:stop], start + 1)]

    return fetch


def _source_row(number: int, line: str, wrong: frozenset[int]) -> Row:
    words = line.lstrip()
    style = "dim" if words.startswith("#") else "strong" if words.startswith("[") else ""
    bad = number in wrong
    text = one_line(line.expandtabs(4), 1000)
    return Cell(str(number), "dim"), Cell("✗" if bad else "", "bad"), Cell(text, "bad" if bad else style)


class CheckPane(Vertical):
    """A line that says how it is; below, problems, or the jobs of the plan."""

    DEFAULT_CSS = """
    CheckPane #verdict { height: auto; max-height: 4; padding: 0 1; text-style: bold; }
    CheckPane #words { height: auto; max-height: 60%; padding: 0 1; display: none; }
    CheckPane.-words #words { display: block; }
    CheckPane.-wrong #words { height: 1fr; max-height: 100%; }
    CheckPane.-wrong #plan { display: none; }
    CheckPane.-wrong #verdict { color: $text-error; }
    CheckPane.-good #verdict { color: $text-success; }
    """

    def compose(self) -> ComposeResult:
        """Verdict, words, plan."""
        yield Static(id="verdict", markup=False)
        with VerticalScroll(id="words"):
            yield Static(markup=False)
        yield VirtualTable(plan_columns(1), lambda _start, _stop: (), id="plan")

    def on_mount(self) -> None:
        """Name it."""
        self.border_title = "plan"

    def clear(self) -> None:
        """There is no manifest."""
        self._set("", "", ())

    def wait(self, words: str) -> None:
        """A command is at work."""
        self.remove_class("-good", "-wrong")
        self.query_one("#verdict", Static).update(Text(f"◌ {words}"))

    def show(self, checked: Checked) -> None:
        """What was found out."""
        if checked.problems:
            n = len(checked.problems)
            words = "\n\n".join(problem_words(problem) for problem in checked.problems)
            self._set(f"✗ {n} problem{'s' if n > 1 else ''}", words, checked.lines)
            self.add_class("-wrong")
        else:
            notes = [*(f"! {warning}" for warning in checked.warnings), *checked.remarks]
            self._set(f"✓ {_sum(checked)}", "\n".join(notes), checked.lines)
            self.add_class("-good")

    def _set(self, verdict: str, words: str, lines: Sequence[Line]) -> None:
        self.remove_class("-good", "-wrong")
        self.set_class(bool(words), "-words")
        self.query_one("#verdict", Static).update(Text(verdict))
        self.query_one("#words Static", Static).update(shown(words))
        columns = plan_columns(len({line.model for line in lines}))
        rows = [_plan_row(line) for line in lines]
        self.query_one("#plan", VirtualTable).renew(len(rows), lambda start, stop: rows[start:stop], columns)


def problem_words(problem: Mapping[str, Any]) -> str:
    """``file:line:column: message``, what is expected, a hint."""
    where = (near(problem["file"]), problem["line"], problem["column"]) if problem.get("file") else ()
    place = ":".join(str(part) for part in where if part)
    lines = [f"{place}: {problem['message']}" if place else str(problem["message"])]
    lines += [f"  {name}: {problem[name]}" for name in ("expected", "hint") if problem.get(name)]
    return "\n".join(lines)


def _sum(checked: Checked) -> str:
    docs = sum(line.docs for line in checked.lines)
    models = len({line.model for line in checked.lines})
    words = f"can run: {models} model{'s' if models > 1 else ''}, {len(checked.lines)} jobs, {docs:,} docs"
    total = checked.total
    if total is None:
        return f"{words}; x counts requests, tokens and cost"
    usd = _usd(total)
    cost = f", {usd} USD" if usd else ""
    return f"{words}; {total['to_ask']:,} of {total['distinct']:,} requests to ask{cost}"


def _plan_row(line: Line) -> Row:
    return tuple(_plan_cells(line))


def _plan_cells(line: Line) -> Iterator[Cell]:
    yield Cell(one_line(job_name(line.task)))
    yield Cell(one_line(line.model), "dim")
    yield Cell(f"{line.docs:,}")
    counts = line.counts
    for _, name in _COUNTS:
        yield Cell(brief(counts[name]) if counts else "·", "" if counts else "dim")
    yield Cell(_usd(counts) if counts else "·", "" if counts else "dim")


def _usd(counts: Mapping[str, Any]) -> str:
    low, high = counts["usd_low"], counts["usd_high"]
    if low is None or high is None or not high:
        return ""
    return dollars(high) if low == high else f"{dollars(low)}–{dollars(high)}"
