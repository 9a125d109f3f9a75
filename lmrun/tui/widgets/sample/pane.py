"""One sample in its views. Whatever takes time, from the database to the tokenizer, is done beside the loop."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import closing
from functools import partial
from typing import NamedTuple

from textual.app import ComposeResult
from textual.containers import Vertical
from textual.events import Resize
from textual.message import Message

from lmrun.display.format import job_name
from lmrun.store.reader import UNREADABLE, RunReader
from lmrun.store.records import JobView, SampleDetail
from lmrun.store.runs import RunDirectory
from lmrun.tui.models import Tokens, model_spec
from lmrun.tui.text import one_line
from lmrun.tui.widgets.sample.choices import choice_lines
from lmrun.tui.widgets.sample.lines import Line
from lmrun.tui.widgets.sample.meta import meta_lines
from lmrun.tui.widgets.sample.output import output_lines
from lmrun.tui.widgets.sample.prompt import prompt_lines
from lmrun.tui.widgets.sample.reader import Reader
from lmrun.tui.widgets.sample.tabs import VIEWS, Tabs, View
from lmrun.tui.widgets.sample.tokens import token_lines
from lmrun.tui.widgets.sample.values import is_right


class _Wanted(NamedTuple):
    """What is to be shown."""

    run: RunDirectory
    sample_id: int
    view: View
    width: int
    unfolded: bool
    as_tokens: bool
    turn: int
    """Counts up when the same has to be read again."""


class SamplePane(Vertical):
    """Tabs and text."""

    DEFAULT_CSS = """
    SamplePane { background: $background; }
    """

    class Looked(Message, bubble=False):
        """A view was made."""

        def __init__(self, wanted: _Wanted, detail: SampleDetail | None, lines: list[Line]) -> None:
            super().__init__()
            self.wanted, self.detail, self.lines = wanted, detail, lines

    class Loaded(Message, bubble=False):
        """A tokenizer was loaded, or could not be."""

    def __init__(self, *, id: str | None = None) -> None:  # noqa: A002
        super().__init__(id=id)
        self._tabs, self.reader = Tabs(), Reader()
        self._run: RunDirectory | None = None
        self._sample_id: int | None = None
        self._detail: SampleDetail | None = None
        self._jobs: dict[tuple[str, str], JobView] = {}
        self._tokens: dict[str, Tokens | str] = {}
        """By model; or why there are none."""
        self._loading = ""
        self._wanted: _Wanted | None = None
        self._drawn: _Wanted | None = None
        self._busy = False
        self._unfolded = self._as_tokens = False
        self._turn = 0

    def compose(self) -> ComposeResult:
        """Tabs over text."""
        yield self._tabs
        yield self.reader

    # -- what the page does with it ------------------------------------------------------------------------------------

    def open_run(self, run: RunDirectory | None) -> None:
        """Samples are of this run from now on."""
        self._run, self._jobs, self._tokens, self._loading = run, {}, {}, ""
        self.show(None)

    def show(self, sample_id: int | None) -> None:
        """Show a sample, as soon as it is read."""
        self._sample_id = sample_id
        if sample_id is None:
            self._detail = self._wanted = self._drawn = None
            self._tabs.words = ""
            self.reader.show([])
        self._want()

    def again(self) -> None:
        """Read the same sample again: it may have been answered, scored or labelled."""
        self._turn += 1
        self._want()

    @property
    def detail(self) -> SampleDetail | None:
        """The sample on the screen, unless another one is on its way."""
        detail = self._detail
        return detail if detail and detail.row.id == self._sample_id else None

    def turn_tab(self, step: int) -> None:
        """Show the next view, or the one before."""
        self.show_view(VIEWS[(VIEWS.index(self._tabs.view) + step) % len(VIEWS)])

    def show_view(self, view: View) -> None:
        """Show a view."""
        self._tabs.view = view
        self._want()

    def toggle_tokens(self) -> None:
        """Show the prompt as tokens, or as text."""
        self._as_tokens = not self._as_tokens or self._tabs.view != "Prompt"
        self.show_view("Prompt")

    def toggle_fold(self) -> None:
        """Unfold the reasoning, or fold it."""
        self._unfolded = not self._unfolded or self._tabs.view != "Output"
        self.show_view("Output")

    def on_tabs_chosen(self, event: Tabs.Chosen) -> None:
        """A click."""
        event.stop()
        self.show_view(event.view)

    def on_resize(self, event: Resize) -> None:
        """Bars follow the width."""
        self.call_after_refresh(self._want)

    # -- beside the loop -----------------------------------------------------------------------------------------------

    def _want(self) -> None:
        """Make what is wanted now; while something else is being made, afterwards: only the newest counts."""
        if self._run is None or self._sample_id is None:
            return
        width = self.reader.width if self._tabs.view == "Choices" else 0
        self._wanted = _Wanted(
            self._run, self._sample_id, self._tabs.view, width, self._unfolded, self._as_tokens, self._turn
        )
        if not self._busy and self._wanted != self._drawn:
            self._busy = True
            self.run_worker(partial(self._look, self._wanted, self._detail), thread=True, group="look")

    def _look(self, wanted: _Wanted, detail: SampleDetail | None) -> None:
        try:
            if (
                detail is None
                or detail.row.id != wanted.sample_id
                or self._drawn is None
                or self._drawn.turn != wanted.turn
            ):
                detail = self._read(wanted)
            lines = list(self._lines(wanted, detail))
        except UNREADABLE as error:
            lines = [Line(f"! {type(error).__name__}: {one_line(str(error))}", "bad")]
        self.post_message(self.Looked(wanted, detail, lines))

    def _read(self, wanted: _Wanted) -> SampleDetail:
        with closing(RunReader(wanted.run)) as reader:
            detail = reader.sample(wanted.sample_id)
            job = (detail.row.model, detail.row.label)
            if job not in self._jobs:
                self._jobs[job] = reader.job(*job)
            return detail

    def _lines(self, wanted: _Wanted, detail: SampleDetail) -> Iterable[Line]:
        row = detail.row
        job = self._jobs[row.model, row.label]
        match wanted.view:
            case "Prompt" if wanted.as_tokens:
                tokens = self._tokens.get(row.model, "loading the tokenizer …")
                return [Line(tokens, "dim")] if isinstance(tokens, str) else token_lines(detail, tokens)
            case "Prompt":
                return prompt_lines(detail, job)
            case "Output":
                return output_lines(detail, unfolded=wanted.unfolded)
            case "Choices":
                return choice_lines(detail, wanted.width)
            case _:
                return meta_lines(detail, job)

    def on_sample_pane_looked(self, event: Looked) -> None:
        """Show it if it is still wanted, and make what is."""
        self._busy = False
        if event.wanted == self._wanted:
            before, self._drawn, self._detail = self._drawn, event.wanted, event.detail
            same = before is not None and before._replace(turn=0, width=0) == event.wanted._replace(turn=0, width=0)
            self._tabs.words = _title(event.detail) if event.detail else ""
            self.reader.show(event.lines, keep=same)
            if event.wanted.as_tokens and event.wanted.view == "Prompt" and event.detail:
                self._load_tokens(event.detail.row.model)
        self._want()

    def _load_tokens(self, model: str) -> None:
        if model not in self._tokens and self._loading != model and self._run:
            self._loading = model
            self.run_worker(partial(self._load, self._run, model), thread=True, group="tokenizer")

    def _load(self, run: RunDirectory, model: str) -> None:
        tokens: Tokens | str
        try:
            tokens = Tokens(model_spec(run, model), _facts(run, model))
        except (*UNREADABLE, ImportError) as error:
            hint = getattr(error, "hint", "")
            tokens = one_line(f"no tokens: {error}" + (f" ({hint})" if hint else ""))
        if run == self._run:
            self._tokens[model] = tokens
            self.post_message(self.Loaded())

    def on_sample_pane_loaded(self) -> None:
        """Show the tokens."""
        self._loading = ""
        self._drawn = None
        self._want()


def _facts(run: RunDirectory, name: str) -> Mapping[str, object]:
    """What the run has recorded of a model."""
    with closing(RunReader(run)) as reader:
        facts: Mapping[str, object] = next(model["facts"] for model in reader.models() if model["name"] == name)
        return facts


def _title(detail: SampleDetail) -> str:
    row = detail.row
    mark = "!" if row.status == "error" else is_right(row.correct)[0]
    return f"{mark} doc {row.doc_id} · {one_line(job_name(row.label), 60)}"
