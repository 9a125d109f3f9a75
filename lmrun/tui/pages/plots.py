"""A run as plots: scores with their intervals, throughput and memory over time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical, VerticalScroll
from textual.content import Content
from textual.screen import Screen
from textual.widgets import ContentSwitcher, Static
from textual.worker import Worker, WorkerState

from lmrun.store.gauges import Point
from lmrun.store.reader import UNREADABLE, RunReader
from lmrun.store.runs import RunDirectory
from lmrun.tui.pages.base import app_of
from lmrun.tui.text import one_line
from lmrun.tui.widgets.keys import Keys
from lmrun.tui.widgets.score_plot import ScorePlot
from lmrun.tui.widgets.time_plot import TimePlot
from lmrun.tui.words import memory, speed

if TYPE_CHECKING:
    from lmrun.tui.app import LmrunApp

EVERY = 5.0
"""Seconds between two readings, as gauges are measured."""
POINTS = 300
TABS = ("scores", "throughput", "memory")

Series = Mapping[str, Sequence[Point]]


class PlotsScreen(Screen[None]):
    """Above the dashboard; Tab goes through the plots."""

    DEFAULT_CSS = """
    PlotsScreen #tabs { height: 1; background: $panel; padding: 0 1; }
    PlotsScreen ContentSwitcher { height: 1fr; }
    PlotsScreen #scores { padding: 1 2; scrollbar-size-vertical: 1; }
    PlotsScreen .nothing { padding: 1 2; color: $text-muted; height: auto; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("tab,right,l", "turn(1)", "next plot"),
        Binding("shift+tab,left,h", "turn(-1)", "previous plot"),
        Binding("j,down", "scroll_down", "down", show=False),
        Binding("k,up", "scroll_up", "up", show=False),
        Binding("escape,v", "dismiss", "back"),
    ]

    def __init__(self, run: RunDirectory) -> None:
        super().__init__()
        self._run_directory = run

    @property
    def lmrun(self) -> LmrunApp:
        """The app."""
        return app_of(self)

    def compose(self) -> ComposeResult:
        """Names of the plots, a plot, keys."""
        yield Static(id="tabs", markup=False)
        with ContentSwitcher(initial=TABS[0]):
            with VerticalScroll(id="scores"):
                yield ScorePlot()
            with Vertical(id="throughput"):
                yield Static("nothing was measured yet", classes="nothing", markup=False)
                yield TimePlot("tokens per second", speed, id="tokens")
                yield TimePlot("requests per second", speed, id="requests")
            with Vertical(id="memory"):
                yield Static("nothing was measured yet", classes="nothing", markup=False)
                yield TimePlot("memory", memory, id="bytes")
                yield TimePlot("load", percent, id="load")
        yield Keys(lambda action: action != "help")  # which is of pages

    def on_mount(self) -> None:
        """Read now and again."""
        self._show_tabs()
        self._show_series({})
        self._read_again()
        self.set_interval(EVERY, self._read_again)

    def _read_again(self) -> None:
        self.query_one(ScorePlot).show(self.lmrun.view.jobs if self.lmrun.view else ())
        self.run_worker(self._read, name="gauges", exclusive=True, thread=True)

    def _read(self) -> Series | str:
        try:
            reader = RunReader(self._run_directory)
            try:
                return reader.gauge_series(POINTS)
            finally:
                reader.close()
        except UNREADABLE as error:
            return str(error)

    def on_worker_state_changed(self, event: Worker.StateChanged) -> None:
        """Draw what was read."""
        if event.worker.name != "gauges" or event.state is not WorkerState.SUCCESS:
            return
        read = event.worker.result
        if isinstance(read, str):
            for words in self.query(".nothing").results(Static):
                words.update(one_line(read))
        elif read is not None:
            self._show_series(read)

    def _show_series(self, series: Series) -> None:
        shown = {
            "tokens": _named(series, "tokens_per_second"),
            "requests": _named(series, "requests_per_second"),
            "bytes": {_line(name): series[name] for name in series if name.endswith("_bytes")},
            "load": {_line(name): series[name] for name in series if name.endswith("_percent")},
        }
        for name, lines in shown.items():
            plot = self.query_one(f"#{name}", TimePlot)
            plot.display = bool(lines)
            plot.show(lines)
        for tab, plots in (("throughput", ("tokens", "requests")), ("memory", ("bytes", "load"))):
            self.query_one(f"#{tab} .nothing").display = not any(shown[name] for name in plots)

    def _show_tabs(self) -> None:
        here = self.query_one(ContentSwitcher).current
        styles = {tab: "bold reverse" if tab == here else "dim" for tab in TABS}
        names = Content(" ").join(Content.styled(f" {tab} ", styles[tab]) for tab in TABS)
        self.query_one("#tabs", Static).update(Content("plots  ") + names)

    def action_turn(self, step: int) -> None:
        """Another plot."""
        switcher = self.query_one(ContentSwitcher)
        switcher.current = TABS[(TABS.index(switcher.current or TABS[0]) + step) % len(TABS)]
        self._show_tabs()

    def action_scroll_down(self) -> None:
        """A line down."""
        self.query_one(VerticalScroll).scroll_down(animate=False)

    def action_scroll_up(self) -> None:
        """A line up."""
        self.query_one(VerticalScroll).scroll_up(animate=False)


def percent(value: float) -> str:
    """A load."""
    return f"{value:.0f}%"


def _named(series: Series, name: str) -> Series:
    return {name: series[name]} if name in series else {}


def _line(name: str) -> str:
    """``gpu0_memory_bytes`` → ``gpu0``; of the engine's process: ``engine``."""
    return name.split("_", maxsplit=1)[0] if name.startswith("gpu") else "engine"
