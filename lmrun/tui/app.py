"""The app: pages, the run they show, and what can be done everywhere."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import ClassVar

from textual.app import App
from textual.binding import BindingType
from textual.command import CommandPalette
from textual.worker import Worker, WorkerState

from lmrun.store.reader import SampleQuery
from lmrun.store.runs import RunDirectory
from lmrun.tui.actions import bindings
from lmrun.tui.config import Config
from lmrun.tui.pages.base import Page
from lmrun.tui.pages.compare import ComparePage
from lmrun.tui.pages.dashboard import DashboardPage
from lmrun.tui.pages.help import HelpScreen
from lmrun.tui.pages.log import LogPage
from lmrun.tui.pages.manifests import ManifestsPage
from lmrun.tui.pages.runs import RunsPage
from lmrun.tui.pages.samples import SamplesPage
from lmrun.tui.palette import Actions
from lmrun.tui.state import RunView
from lmrun.tui.themes import THEMES
from lmrun.tui.watch import RunWatch

TICK = 0.25
"""Seconds between two looks at the run."""


class LmrunApp(App[None]):
    """Watch, steer and read runs."""

    TITLE = "lmrun"
    COMMANDS: ClassVar[set[Callable[[], type[Actions]]]] = {lambda: Actions}  # type: ignore[assignment]
    BINDINGS: ClassVar[list[BindingType]] = bindings("app")
    ENABLE_COMMAND_PALETTE = True
    MODES: ClassVar[Mapping[str, type[Page]]] = {  # type: ignore[assignment]
        "dashboard": DashboardPage,
        "runs": RunsPage,
        "samples": SamplesPage,
        "compare": ComparePage,
        "manifests": ManifestsPage,
        "log": LogPage,
    }
    DEFAULT_MODE = "dashboard"

    def __init__(
        self,
        run: RunDirectory | None,
        *,
        runs_dir: Path,
        page: str = "dashboard",
        manifest: Path | None = None,
        config: Config | None = None,
        query: SampleQuery | None = None,
    ) -> None:
        self._config = config or Config()
        self._first_page = page
        self._first_query = query
        super().__init__()
        self.runs_dir = runs_dir
        self.run_directory = run
        """The run that the pages show."""
        self.manifest = manifest
        """The manifest that the page for them opens with."""
        self.view: RunView | None = None
        self._watch: RunWatch | None = None
        self._before = page
        for theme in THEMES:
            self.register_theme(theme)

    def on_mount(self) -> None:
        """Start."""
        if self._first_query:
            self.call_later(self.samples, self._first_query)
        if not os.environ.get("TEXTUAL_ANIMATIONS"):
            self.animation_level = "none"
        self.set_keymap(self._config.keys)
        if self._config.tui.theme in self.available_themes:
            self.theme = self._config.tui.theme
        self.open_run(self.run_directory)
        self.switch_mode(self._first_page)
        self.set_interval(TICK, self._look)

    # -- the run -------------------------------------------------------------------------------------------------------

    def open_run(self, run: RunDirectory | None) -> None:
        """Show another run on all pages."""
        self.run_directory = run
        if self._watch:
            self._watch.close()
        self._watch = RunWatch(run) if run else None
        self.view = self._watch.look() if self._watch else None
        self._show()

    def _look(self) -> None:
        """Read the run's state beside the loop: a slow disk must not hold up a key."""
        if self._watch:
            self.run_worker(partial(self._watch.look), name="look", group="look", exclusive=True, thread=True)

    def on_worker_state_changed(self, event: Worker.StateChanged) -> None:
        """A look has ended."""
        if event.worker.name == "look" and event.state is WorkerState.SUCCESS:
            view = event.worker.result
            if self.run_directory and isinstance(view, RunView) and view.id == self.run_directory.id:
                self.view = view
                self._show()

    def _show(self) -> None:
        screen = self.screen if self.screen_stack else None
        if isinstance(screen, Page) and screen.is_mounted:
            screen.show(self.view)

    def command(self, name: str, **arguments: str) -> None:
        """Send a command to the engine (``pause``, ``resume``, ``stop``, ``faster``, ``slower`` …), and show its words."""
        raise NotImplementedError

    def start(self, manifest: Path) -> None:
        """Start an engine for a manifest, or one that resumes its run, and show that run."""
        raise NotImplementedError

    def resume(self, run: RunDirectory) -> None:
        """Start an engine that goes on with a run."""
        raise NotImplementedError

    def samples(self, query: SampleQuery) -> None:
        """Show samples of the run."""
        page = self.go("samples")
        assert isinstance(page, SamplesPage)
        page.open(query)

    # -- everywhere ----------------------------------------------------------------------------------------------------

    def go(self, page: str) -> Page:
        """Show a page."""
        if page != self.current_mode:
            self._before = self.current_mode
            self.switch_mode(page)
        screen = self.screen_stack[0]
        assert isinstance(screen, Page)
        return screen

    def action_page(self, page: str) -> None:
        """Show a page."""
        self.go(page)

    def action_last_page(self) -> None:
        """Show the page before this one."""
        self.go(self._before)

    def action_palette(self) -> None:
        """Everything by name."""
        if not CommandPalette.is_open(self):  # type: ignore[arg-type]
            self.push_screen(CommandPalette())

    def action_help(self) -> None:
        """What every key does here."""
        if isinstance(self.screen, Page):
            self.push_screen(HelpScreen(self.screen.page))

    def action_theme(self) -> None:
        """Choose a theme."""
        self.search_themes()

    def action_leave(self) -> None:
        """Leave the app."""
        self.exit()
