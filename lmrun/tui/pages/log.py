"""The page log: what happened, as it happens, and which errors there were."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timezone
from functools import partial
from pathlib import Path

from rich.text import Text
from textual.app import ComposeResult
from textual.containers import VerticalScroll
from textual.widgets import Static
from textual.worker import Worker, WorkerState

from lmrun.tui.filters import Keys, parse_filter
from lmrun.tui.logs import LEVELS, ErrorKind, Log, LogLine, LogTail, details, kinds
from lmrun.tui.pages.base import Page
from lmrun.tui.state import RunView
from lmrun.tui.text import one_line, shown
from lmrun.tui.widgets.filter_bar import FilterBar
from lmrun.tui.widgets.virtual import Cell, Column, Row, VirtualTable

MARKS = {"debug": " ", "info": "·", "warning": "!", "error": "✗"}
_STYLES = {"debug": "dim", "info": "", "warning": "warn", "error": "bad"}
_LEAST = {"debug": "all lines", "info": "no details", "warning": "warnings and errors", "error": "errors only"}
FILTER_KEYS: Keys = {"level": LEVELS, **dict.fromkeys(("event", "model", "job", "kind", "class", "status"), ())}
"""Fields of a line that a filter can ask for; words are looked for in all."""

_LINES = (Column("time", 9), Column("", 1), Column("level", 7, least=90), Column("event", 18), Column("", 0))
_KINDS = (
    Column("lines", 7, right=True),
    Column("", 1),
    Column("event", 18),
    Column("class", 20),
    Column("status", 6),
    Column("last", 9),
    Column("", 0, least=80),
)


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which lines the user wants to see."""

    level: str = "debug"
    text: str = ""
    kind: tuple[str, str, str] | None = None

    def of(self, log: Log) -> list[LogLine]:
        """Those of a log."""
        least, wanted = LEVELS.index(self.level), parse_filter(self.text, FILTER_KEYS)
        return [
            line
            for line in log.lines
            if LEVELS.index(line.level) >= least
            and (self.kind is None or (line.bad and line.kind == self.kind))
            and (not wanted or wanted.matches(line.told))
        ]


@dataclass(frozen=True, slots=True)
class _Found:
    """What a look at the file found."""

    tail: LogTail
    log: Log
    wanted: Wanted
    lines: Sequence[LogLine] = field(repr=False)
    kinds: Sequence[ErrorKind] = field(repr=False)


def _look(tail: LogTail, before: Log, shown_for: Wanted | None, wanted: Wanted) -> _Found | None:
    """Read what is new; None where nothing is."""
    log = tail.read()
    if log is None and wanted == shown_for:
        return None
    log = log or before
    lines = wanted.of(log)
    return _Found(tail, log, wanted, lines, kinds(lines))


class LogPage(Page):
    """A table of lines or of kinds of errors, and the line under the cursor in full."""

    page = "log"
    DEFAULT_CSS = """
    LogPage #summary { height: 1; padding: 0 1; color: $text-muted; background: $surface; }
    LogPage #details { height: 35%; background: $panel; padding: 0 1; scrollbar-size-vertical: 1; }
    LogPage.-short #details { height: 6; }
    """

    def __init__(self) -> None:
        super().__init__()
        self._tail: LogTail | None = None
        self._wanted = Wanted()
        self._shown_for: Wanted | None = None
        self._log = Log()
        self._lines: Sequence[LogLine] = ()
        self._kinds: Sequence[ErrorKind] = ()
        self._reading = False
        self._grouped = False
        self._following = True
        self._begun: float | None = None

    def body(self) -> ComposeResult:
        """How much is shown, lines, one line in full."""
        yield Static(id="summary", markup=False)
        yield VirtualTable(_LINES, self._rows, id="lines")
        with VerticalScroll(id="details"):
            yield Static(id="line", markup=False)
        yield FilterBar(partial(parse_filter, keys=FILTER_KEYS), 'words, level:error, event:"…", model:…, !job:…')

    # -- reading -------------------------------------------------------------------------------------------------------

    def draw(self, view: RunView | None) -> None:
        """Look at the file."""
        run = self.lmrun.run_directory
        if run is None or self._tail is None or self._tail.path != run.log:
            self._tail = LogTail(run.log) if run else None
            self._log, self._shown_for = Log(), None
            self._wanted, self._grouped, self._following = replace(self._wanted, kind=None), False, True
            self._put((), ())
        created = view.facts.get("created") if view else None
        self._begun = float(created) if isinstance(created, int | float) else None
        self._read()

    def _read(self) -> None:
        """Look at the file beside the loop; one look at a time."""
        if self._tail and not self._reading:
            self._reading = True
            look = partial(_look, self._tail, self._log, self._shown_for, self._wanted)
            self.run_worker(look, name="log", thread=True)

    def on_worker_state_changed(self, event: Worker.StateChanged) -> None:
        """A look, or the reading of one line, has ended."""
        worker = event.worker
        if worker.name == "log" and worker.is_finished:
            self._reading = False
            if isinstance(worker.result, _Found) and worker.result.tail is self._tail:
                self._take(worker.result)
            if self._wanted != self._shown_for or self._log.left:
                self._read()
        elif worker.name == "line" and event.state is WorkerState.SUCCESS and isinstance(worker.result, str):
            self.query_one("#line", Static).update(shown(worker.result))

    def _take(self, found: _Found) -> None:
        self._log, self._shown_for = found.log, found.wanted
        self._put(found.lines, found.kinds)

    # -- showing -------------------------------------------------------------------------------------------------------

    @property
    def _table(self) -> VirtualTable:
        return self.query_one(VirtualTable)

    def _put(self, lines: Sequence[LogLine], found: Sequence[ErrorKind]) -> None:
        """Show these. The cursor stays on its line, and the line where it is on the screen."""
        table, here = self._table, self._line()
        self._lines, self._kinds = lines, found
        if self._grouped:
            table.renew(len(found))
        else:
            before = table.cursor
            table.renew(len(lines))
            if self._following:
                table.move_to(len(lines) - 1)
            elif here:
                row = bisect_left(lines, here.offset, key=lambda line: line.offset)
                table.scroll_to(y=table.scroll_offset.y + row - before, animate=False, force=True)
                table.move_to(row)
        self._summarise()
        self._detail()

    def _rows(self, start: int, stop: int) -> Sequence[Row]:
        if self._grouped:
            return [self._kind_row(kind) for kind in self._kinds[start:stop]]
        return [self._line_row(line) for line in self._lines[start:stop]]

    def _line_row(self, line: LogLine) -> Row:
        style = _STYLES[line.level]
        return (
            Cell(self._when(line), "dim"),
            Cell(MARKS[line.level], style),
            Cell(line.level, style),
            Cell(line.event, style),
            Cell(line.text, "dim" if line.level == "debug" else ""),
        )

    def _kind_row(self, found: ErrorKind) -> Row:
        event, name, status = found.kind
        style = _STYLES[found.last.level]
        return (
            Cell(f"×{found.count:,}", "strong"),
            Cell(MARKS[found.last.level], style),
            Cell(event, style),
            Cell(name),
            Cell(status),
            Cell(self._when(found.last), "dim"),
            Cell(found.last.text, "dim"),
        )

    def _when(self, line: LogLine) -> str:
        """Hours, minutes and seconds since the start of the run."""
        if line.time is None or self._begun is None:
            return ""
        seconds = max(0, int(line.time - self._begun))
        return f"+{seconds // 3600}:{seconds // 60 % 60:02d}:{seconds % 60:02d}"

    def _line(self) -> LogLine | None:
        """The line under the cursor; of a kind of errors, the last one."""
        row = self._table.cursor
        if self._grouped:
            return self._kinds[row].last if row < len(self._kinds) else None
        return self._lines[row] if row < len(self._lines) else None

    def _summarise(self) -> None:
        log = self._log
        if self._grouped:
            count = f"{len(self._kinds)} kind{'s' if len(self._kinds) != 1 else ''} of errors"
        else:
            count = f"{len(self._lines):,} of {log.total:,} lines"
        parts = [_LEAST[self._wanted.level], count]
        if self._wanted.kind:
            parts.append(f"only {one_line(' '.join(filter(None, self._wanted.kind)), 60)} (esc: all)")
        if log.left:
            parts.append(f"reading, {log.left >> 20:,} MB left")
        elif log.total > len(log.lines):
            parts.append("of older lines, warnings and errors only")
        if self._following and not self._grouped:
            parts.insert(0, "↓ following")
        words = Text(" · ".join(parts), no_wrap=True, overflow="ellipsis")
        self.query_one("#summary", Static).update(words, layout=False)
        self.query_one(FilterBar).say(count)

    def _detail(self) -> None:
        line = self._line()
        if line is None or self._tail is None:
            self.query_one("#line", Static).update("")
        else:
            read = partial(_in_full, self._tail.path, line)
            self.run_worker(read, name="line", group="line", thread=True, exclusive=True)

    # -- what the user does --------------------------------------------------------------------------------------------

    def on_virtual_table_moved(self, _event: VirtualTable.Moved) -> None:
        """Who leaves the end does not want to be taken back there; who goes there, stays there."""
        if not self._grouped:
            self._following = self._table.cursor >= len(self._lines) - 1
        self._summarise()
        self._detail()

    def on_virtual_table_chosen(self, _event: VirtualTable.Chosen) -> None:
        """Only the lines of this kind."""
        if self._grouped and self._table.cursor < len(self._kinds):
            self._wanted = replace(self._wanted, kind=self._kinds[self._table.cursor].kind)
            self._group(on=False)

    def on_filter_bar_changed(self, event: FilterBar.Changed) -> None:
        """Only the lines that fit."""
        self._wanted = replace(self._wanted, text=event.text)
        self._read()

    def offers(self, action: str) -> bool:
        """Enter shows the lines of a kind of errors; a line has nothing to open."""
        return action != "choose" or self._grouped

    def action_filter(self) -> None:
        """Type a filter."""
        self.query_one(FilterBar).open()

    def action_level(self) -> None:
        """From all lines to errors only, and round again."""
        self._wanted = replace(self._wanted, level=LEVELS[(LEVELS.index(self._wanted.level) + 1) % len(LEVELS)])
        self._read()

    def action_next_error(self) -> None:
        """To the next warning or error; after the last, to the first."""
        if self._grouped:
            self._group(on=False)
        after = self._table.cursor + 1
        order = [*range(after, len(self._lines)), *range(min(after, len(self._lines)))]
        row = next((row for row in order if self._lines[row].bad), None)
        if row is None:
            self.notify("No warnings and no errors", markup=False)
        else:
            self._table.move_to(row)

    def action_follow(self) -> None:
        """Stay at the end, or no longer."""
        self._following = not self._following
        if self._following and not self._grouped:
            self._table.move_to(len(self._lines) - 1)
        self._summarise()

    def action_groups(self) -> None:
        """Kinds of errors, or lines."""
        self._group(on=not self._grouped)

    def action_back(self) -> None:
        """All kinds of errors again."""
        if self._grouped:
            self._group(on=False)
        elif self._wanted.kind:
            self._wanted = replace(self._wanted, kind=None)
            self._read()

    def _group(self, *, on: bool) -> None:
        self._grouped = on
        self.refresh_bindings()
        self._table.renew(len(self._kinds) if on else len(self._lines), columns=_KINDS if on else _LINES)
        self._table.move_to(0 if on else len(self._lines) - 1)
        self._summarise()
        self._detail()
        self._read()


def _in_full(path: Path, line: LogLine) -> str:
    when = datetime.fromtimestamp(line.time, timezone.utc) if line.time is not None else None
    head = f"{when:%Y-%m-%d %H:%M:%S} UTC, byte {line.offset:,}\n" if when else ""
    return head + details(path, line)
