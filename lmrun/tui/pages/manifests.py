"""The page manifests: find one, read it, see what is wrong with it and what it would ask, start it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from types import MappingProxyType

from rich.text import Text
from textual import work
from textual.app import ComposeResult
from textual.containers import Horizontal, Vertical
from textual.timer import Timer

from lmrun.tui.ask import ask
from lmrun.tui.editor import edit
from lmrun.tui.filters import Keys, parse_filter
from lmrun.tui.manifests import Checked, Found, find_manifests, from_plan, from_validate, near, read_lines
from lmrun.tui.pages.base import Page
from lmrun.tui.state import RunView
from lmrun.tui.text import one_line
from lmrun.tui.widgets.filter_bar import FilterBar
from lmrun.tui.widgets.manifest import CheckPane, source_fetch
from lmrun.tui.widgets.virtual import Cell, Column, Row, VirtualTable

REST = 0.3
"""Seconds that the cursor rests on a manifest before it is checked."""
LOOK = 1.0
"""Seconds between two looks at whether the file has changed."""
LIST = (Column("manifest", 0), Column("where", 10, least=26))
KEYS: Keys = MappingProxyType({"name": (), "where": (), "path": ()})
"""What a filter can ask of a manifest."""
SOURCE = (Column("line", 4, right=True), Column("", 1), Column("text", 0))


class ManifestsPage(Page):
    """List at the left; at the right the text of one, and what ``lmrun validate`` and ``lmrun plan`` say of it."""

    page = "manifests"
    DEFAULT_CSS = """
    ManifestsPage #panes { height: 1fr; }
    ManifestsPage #list { width: 30; }
    ManifestsPage #list, ManifestsPage #source, ManifestsPage CheckPane { border: round $primary-muted;
      border-title-color: $foreground-muted; background: $surface; }
    ManifestsPage #list:focus, ManifestsPage #source:focus, ManifestsPage CheckPane:focus-within {
      border: round $primary; border-title-color: $text-primary; }
    ManifestsPage #source { height: 1fr; }
    ManifestsPage CheckPane { height: 1fr; }
    ManifestsPage.-narrow #panes { layout: vertical; }
    ManifestsPage.-narrow #list { width: 100%; height: 1fr; }
    ManifestsPage.-narrow #detail { height: 3fr; }
    """

    def __init__(self) -> None:
        super().__init__()
        self._all: Sequence[Found] = ()
        self._found: Sequence[Found] = ()
        self._here: Found | None = None
        self._stamp = 0
        self._rest: Timer | None = None
        self._checked: Checked | None = None
        self._counting = False

    def body(self) -> ComposeResult:
        """List, text, check."""
        with Horizontal(id="panes"):
            yield VirtualTable(LIST, self._rows, id="list")
            with Vertical(id="detail"):
                yield VirtualTable(SOURCE, lambda _start, _stop: (), id="source")
                yield CheckPane()
        yield FilterBar(lambda text: parse_filter(text, KEYS), "words, where:bundled, where:run …")

    def on_mount(self) -> None:
        """Start looking at files."""
        self._list.border_title = "manifests"
        self.set_interval(LOOK, self._look)

    def on_screen_resume(self) -> None:
        """The page is shown (again): others may have come."""
        super().on_screen_resume()
        self._find()

    @property
    def _list(self) -> VirtualTable:
        return self.query_one("#list", VirtualTable)

    @property
    def _source(self) -> VirtualTable:
        return self.query_one("#source", VirtualTable)

    @property
    def _check_pane(self) -> CheckPane:
        return self.query_one(CheckPane)

    def draw(self, view: RunView | None) -> None:
        """Nothing here is of the run."""

    # -- the list ------------------------------------------------------------------------------------------------------

    @work(group="find", exclusive=True)
    async def _find(self) -> None:
        self._all = await asyncio.to_thread(find_manifests, self.lmrun.runs_dir, self.lmrun.manifest)
        self._apply_filter()
        if self.focused is None:
            self._list.focus()

    def _apply_filter(self) -> None:
        wanted = parse_filter(self.query_one(FilterBar).text, KEYS)
        self._found = [found for found in self._all if wanted.matches(_fields(found))]
        self._list.renew(len(self._found))
        here = self._here
        paths = [found.path for found in self._found]
        self._list.move_to(paths.index(here.path) if here and here.path in paths else 0)
        self._select()

    def _rows(self, start: int, stop: int) -> Sequence[Row]:
        return [(Cell(one_line(found.name)), Cell(one_line(found.where), "dim")) for found in self._found[start:stop]]

    def on_filter_bar_changed(self) -> None:
        """Another filter."""
        self._apply_filter()

    def on_virtual_table_moved(self, event: VirtualTable.Moved) -> None:
        """Another manifest, if it is in the list."""
        if event.table is self._list:
            self._select()

    def on_virtual_table_chosen(self) -> None:
        """Enter in a table."""
        self.action_open()

    # -- one manifest --------------------------------------------------------------------------------------------------

    def _select(self) -> None:
        found = self._found[self._list.cursor] if self._list.cursor < len(self._found) else None
        if found != self._here:
            self._here = found
            self._source.move_to(0)
            self._load()

    def _look(self) -> None:
        if self.is_current and self._here and _stamp(self._here.path) != self._stamp:
            self._load()

    def _load(self) -> None:
        """Show the text now, and check it when the cursor has rested."""
        self.workers.cancel_group(self, "check")
        self._counting, self._checked = False, None
        self.refresh_bindings()
        self._show_source()
        if self._rest:
            self._rest.stop()
        if self._here:
            self._stamp = _stamp(self._here.path)
            self._rest = self.set_timer(REST, self._check)
            self._check_pane.wait("checking")
        else:
            self._check_pane.clear()

    def _show_source(self) -> None:
        here = self._here
        lines = read_lines(here.path) if here else []
        wrong = self._checked.wrong_lines(here.path) if here and self._checked else frozenset()
        self._source.border_title = Text(one_line(near(here.path))) if here else ""
        self._source.renew(len(lines), source_fetch(lines, wrong))

    def _check(self) -> None:
        if self._here:
            self._validate(self._here.path)

    @work(group="check", exclusive=True)
    async def _validate(self, path: Path) -> None:
        checked = from_validate(*await ask(["validate", str(path), *self.lmrun.options.reading()]))
        self._checked = checked
        self._show_source()
        if wrong := sorted(checked.wrong_lines(path)):
            self._source.move_to(wrong[0] - 1)
        self._check_pane.show(checked)
        self.refresh_bindings()

    @work(group="check", exclusive=True)
    async def _plan(self, path: Path, before: Checked) -> None:
        answer = await ask(["plan", str(path), *self.lmrun.options.reading()])
        self._counting = False
        self._check_pane.show(from_plan(*answer, before.warnings))

    def offers(self, action: str) -> bool:
        """What can be done with the manifest under the cursor."""
        sound = not (self._checked and self._checked.problems)
        if action == "edit":
            return self._here is not None and self._here.own
        return action not in ("start", "expand") or (self._here is not None and sound)

    # -- actions -------------------------------------------------------------------------------------------------------

    def action_open(self) -> None:
        """Into the text, and back."""
        (self._list if self._source.has_focus else self._source).focus()

    def action_filter(self) -> None:
        """Type a filter."""
        self.query_one(FilterBar).open()

    def action_start(self) -> None:
        """Start an engine."""
        if self._here is None:
            self.lmrun.say("there is no manifest")
        elif self._checked and self._checked.problems:
            self.lmrun.say("it has problems; nothing was started", severity="warning")
        else:
            self.lmrun.start(self._here.path)

    def action_edit(self) -> None:
        """Open it in the user's editor."""
        if self._here is None:
            return
        if not self._here.own:
            self.lmrun.say(f"it stays as it is ({self._here.where}): copy it, or make one with lmrun init")
            return
        if wrong := edit(self.app, self._here.path):
            self.lmrun.say(wrong, severity="error")
        self._look()

    def action_expand(self) -> None:
        """Count what it would ask, or stop counting."""
        checked = self._checked
        if self._here is None or checked is None or checked.problems:
            self.lmrun.say("only a manifest without problems can be counted", severity="warning")
        elif self._counting:
            self.workers.cancel_group(self, "check")
            self._counting = False
            self._check_pane.show(checked)
        else:
            self._counting = True
            self._check_pane.wait("counting; x cancels")
            self._plan(self._here.path, checked)


def _fields(found: Found) -> dict[str, str]:
    """What a filter sees of a manifest; of which run one is, its path says."""
    where = "run" if found.where.startswith("run ") else found.where
    return {"name": found.name, "where": where, "path": str(found.path)}


def _stamp(path: Path) -> int:
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return 0
