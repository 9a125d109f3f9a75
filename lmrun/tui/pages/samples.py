"""The page samples: a list at the left, the sample under its cursor at the right."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING

from textual.app import ComposeResult
from textual.containers import Container
from textual.message import Message

from lmrun.display.format import job_name
from lmrun.display.samples import sample_text
from lmrun.errors import LmrunError
from lmrun.store.notes import Notes
from lmrun.store.reader import UNREADABLE, SampleQuery
from lmrun.store.records import SampleDetail
from lmrun.store.runs import RunDirectory
from lmrun.tui.editor import look_in_editor
from lmrun.tui.filters import Condition, Filter, parse_filter
from lmrun.tui.models import curl
from lmrun.tui.pages.base import Page
from lmrun.tui.state import LIVE, RunView
from lmrun.tui.text import one_line
from lmrun.tui.widgets.filter_bar import FilterBar
from lmrun.tui.widgets.sample.listing import SampleList
from lmrun.tui.widgets.sample.pane import SamplePane
from lmrun.tui.widgets.sample.reader import Reader
from lmrun.tui.widgets.virtual import VirtualTable

if TYPE_CHECKING:
    from lmrun.tui.widgets.sample.note import Written

CYCLE = ("wrong", "right", "error", "truncated", "no-match")
"""Outcomes in the order in which a key goes through them; after the last come all samples."""
_LOOKS = 4
"""Of so many pictures of a run that goes on, one makes the list look for new samples."""


class SamplesPage(Page):
    """What the models were asked and said."""

    page = "samples"
    DEFAULT_CSS = """
    SamplesPage #body { layout: horizontal; height: 1fr; }
    SamplesPage SampleList { width: 46%; }
    SamplesPage SamplePane { width: 1fr; }
    SamplesPage.-narrow #body { layout: vertical; }
    SamplesPage.-narrow SampleList { width: 100%; height: 40%; }
    SamplesPage.-narrow SamplePane { width: 100%; height: 1fr; }
    SamplesPage.-only-list SampleList { width: 100%; height: 100%; }
    SamplesPage.-only-list SamplePane { display: none; }
    SamplesPage.-only-sample SampleList { display: none; }
    """

    class Copied(Message, bubble=False):
        """A command is ready for the clipboard; or why there is none."""

        def __init__(self, command: str, error: str = "") -> None:
            super().__init__()
            self.command, self.error = command, error

    def __init__(self) -> None:
        super().__init__()
        self._run: RunDirectory | None = None
        self._filter = Filter()
        self._looks = 0

    def body(self) -> ComposeResult:
        """List, sample, filter."""
        with Container(id="body"):
            yield SampleList()
            yield SamplePane()
        yield FilterBar(parse_filter, "words, wrong, right, error, truncated, no-match, task:… model:… label:… doc:…")

    @property
    def _list(self) -> SampleList:
        return self.query_one(SampleList)

    @property
    def _pane(self) -> SamplePane:
        return self.query_one(SamplePane)

    # -- the run -------------------------------------------------------------------------------------------------------

    def open(self, query: SampleQuery) -> None:
        """Show these samples; the page may not have been shown before."""
        self._use(Filter(tuple(_conditions(query))))

    def draw(self, view: RunView | None) -> None:
        """Another run, or more of the same one."""
        run = self.lmrun.run_directory
        if run != self._run:
            self._run = run
            self._pane.open_run(run)
            self._load()
        elif view and view.state in LIVE:
            self._looks += 1
            if self._looks % _LOOKS == 0:
                self._list.look_again()
                detail = self._pane.detail
                if detail and detail.row.status == "pending":
                    self._pane.again()

    def _use(self, wanted: Filter) -> None:
        changed, self._filter = wanted != self._filter, wanted
        if self.is_mounted:
            self.query_one(FilterBar).set(str(wanted))
            if changed and self._run:
                self._load()

    def on_mount(self) -> None:
        """A filter may have been given before."""
        self.query_one(FilterBar).set(str(self._filter))

    def _load(self) -> None:
        self._list.load(self._run, self._filter.query())

    def on_filter_bar_changed(self, event: FilterBar.Changed) -> None:
        """Another filter was typed."""
        wanted = parse_filter(event.text)
        if wanted != self._filter:
            self._filter = wanted
            self._load()

    def on_sample_list_selected(self, event: SampleList.Selected) -> None:
        """Another sample."""
        self._pane.show(event.sample_id)

    def on_virtual_table_chosen(self, event: VirtualTable.Chosen) -> None:
        """Enter: read it."""
        self._zoom("-only-sample")
        self._pane.reader.focus()

    # -- which samples -------------------------------------------------------------------------------------------------

    def action_filter(self) -> None:
        """Type a filter."""
        self.query_one(FilterBar).open()

    def action_cycle(self) -> None:
        """The next kind of samples."""
        words = [c.value for c in self._filter.conditions if c.key == "is"]
        now = CYCLE.index(words[0]) + 1 if words and words[0] in CYCLE else 0
        rest = tuple(c for c in self._filter.conditions if c.key != "is")
        self._use(Filter((*rest, Condition("is", CYCLE[now])) if now < len(CYCLE) else rest))

    def action_refresh(self) -> None:
        """Take in what is new."""
        self._list.reload()
        self._pane.again()

    def action_next_wrong(self) -> None:
        """The next wrong answer."""
        self._list.find_wrong(1)

    def action_previous_wrong(self) -> None:
        """The wrong answer before."""
        self._list.find_wrong(-1)

    def action_next_sample(self) -> None:
        """The next sample, whatever has the focus."""
        self._list.table.action_cursor_down()

    def action_previous_sample(self) -> None:
        """The sample before."""
        self._list.table.action_cursor_up()

    # -- how it is shown -----------------------------------------------------------------------------------------------

    def action_tab_next(self) -> None:
        """The next view."""
        self._pane.turn_tab(1)

    def action_tab_previous(self) -> None:
        """The view before."""
        self._pane.turn_tab(-1)

    def action_tokens(self) -> None:
        """Tokens or text."""
        self._pane.toggle_tokens()

    def action_fold(self) -> None:
        """Reasoning folded or not."""
        self._pane.toggle_fold()

    def action_scroll_down(self) -> None:
        """The sample a few lines on."""
        self._pane.reader.action_scroll_few(1)

    def action_scroll_up(self) -> None:
        """The sample a few lines back."""
        self._pane.reader.action_scroll_few(-1)

    def action_zoom(self) -> None:
        """Only what has the focus, or both."""
        if self.has_class("-only-list") or self.has_class("-only-sample"):
            self._zoom("")
        else:
            self._zoom("-only-sample" if isinstance(self.focused, Reader) else "-only-list")

    def _zoom(self, wanted: str) -> None:
        for name in ("-only-list", "-only-sample"):
            self.set_class(name == wanted, name)

    def action_back(self) -> None:
        """From the sample to the list, from some samples to all."""
        if self.has_class("-only-sample") or isinstance(self.focused, Reader):
            self._zoom("")
            self._list.table.focus()
        elif self._filter:
            self._use(Filter())
        else:
            self._zoom("")

    # -- what is done with it ------------------------------------------------------------------------------------------

    def action_label(self) -> None:
        """Write a label and a note."""
        from lmrun.tui.widgets.sample.note import NoteScreen  # what one writes in takes long to import

        run, detail = self._run, self._pane.detail
        if run is None or detail is None:
            return
        row = detail.row
        title = f"{one_line(job_name(row.label), 40)} · doc {row.doc_id}"
        self.app.push_screen(NoteScreen(title, detail.note), partial(self._keep, run, detail))

    def _keep(self, run: RunDirectory, detail: SampleDetail, written: Written | None) -> None:
        if written is None:
            return
        row = detail.row
        try:
            Notes(run).set(row.model, row.label, row.doc_id, written.mark, written.text)
        except UNREADABLE as error:
            self.notify(f"not kept: {one_line(str(error))}", severity="error", markup=False)
            return
        self._list.table.renew()
        self._pane.again()

    def action_copy(self) -> None:
        """The request as a command, into the clipboard."""
        if self._run and (detail := self._pane.detail):
            work = partial(self._write_curl, self._run, detail)
            self.run_worker(work, thread=True, group="copy", exclusive=True)

    def _write_curl(self, run: RunDirectory, detail: SampleDetail) -> None:
        try:
            self.post_message(self.Copied(curl(run, detail)))
        except UNREADABLE as error:
            self.post_message(self.Copied("", one_line(str(error))))

    def on_samples_page_copied(self, event: Copied) -> None:
        """Put it there, and say so."""
        if event.error:
            self.notify(event.error, severity="warning", markup=False)
            return
        self.app.copy_to_clipboard(event.command)
        first = event.command.partition("\n")[0].removesuffix(" \\").removeprefix("# ")
        self.notify(f"copied: {one_line(first, 80)}", markup=False)

    def action_edit(self) -> None:
        """The whole sample in the editor."""
        if (detail := self._pane.detail) is None:
            return
        try:
            look_in_editor(self.app, f"doc-{detail.row.doc_id}.txt", sample_text(detail, full=True))
        except LmrunError as error:
            self.notify(one_line(str(error)), severity="warning", markup=False)


def _conditions(query: SampleQuery) -> Iterator[Condition]:
    """A query as a filter that a person can read and change."""
    words = {"correct": "right", "errors": "error", "no_match": "no-match"}
    for key, value in (("model", query.model), ("task", query.task), ("doc", query.doc_id)):
        if value is not None:
            yield Condition(key, str(value))
    for name in query.outcomes:
        yield Condition("is", words.get(name, name))
    if query.search:
        yield Condition("", query.search)
    for term in query.terms:
        key = "" if term.key == "text" else term.key
        yield Condition(key, words.get(term.value, term.value) if key == "is" else term.value, term.negated)
