"""The app: pages, the run they show, and what can be done everywhere."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import replace
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any, ClassVar

from textual import work
from textual.app import App
from textual.binding import BindingType
from textual.command import CommandPalette
from textual.notifications import SeverityLevel
from textual.screen import Screen
from textual.worker import Worker, WorkerState

from lmrun.engine.control.client import ControlClient
from lmrun.engine.control.protocol import Reply
from lmrun.errors import LmrunError
from lmrun.store.reader import SampleQuery
from lmrun.store.runs import RunDirectory
from lmrun.tui.actions import PAGES, bindings
from lmrun.tui.config import Config
from lmrun.tui.dialogs import Choice, Leave, Notice
from lmrun.tui.engine import Engine, Options, runs_of, start_batch, start_retry
from lmrun.tui.pages.base import Page
from lmrun.tui.pages.help import HelpScreen
from lmrun.tui.palette import Actions
from lmrun.tui.state import LIVE, RunView
from lmrun.tui.terminal import hang_up_if_gone, write_utf8
from lmrun.tui.text import one_line
from lmrun.tui.themes import THEMES
from lmrun.tui.watch import RunWatch

TICK = 0.25
"""Seconds between two looks at the run."""


def _page(name: str) -> Page:
    """A page; what it is made of is imported when it is shown for the first time."""
    module = import_module(f"lmrun.tui.pages.{name}")
    page = getattr(module, f"{name.title()}Page")()
    assert isinstance(page, Page)
    return page


def _import_pages() -> None:
    for name in PAGES:
        import_module(f"lmrun.tui.pages.{name}")


class LmrunApp(App[None]):
    """Watch, steer and read runs."""

    TITLE = "lmrun"
    COMMANDS: ClassVar[set[Callable[[], type[Actions]]]] = {lambda: Actions}  # type: ignore[assignment]
    BINDINGS: ClassVar[list[BindingType]] = bindings("app")
    ENABLE_COMMAND_PALETTE = True
    MODES: ClassVar[dict[str, str | Callable[[], Screen[Any]]]] = {name: partial(_page, name) for name in PAGES}

    def __init__(
        self,
        run: RunDirectory | None,
        *,
        runs_dir: Path,
        page: str = "dashboard",
        manifest: Path | None = None,
        start: bool = False,
        options: Options | None = None,
        config: Config | None = None,
        query: SampleQuery | None = None,
    ) -> None:
        self._config = config or Config()
        self.DEFAULT_MODE = page  # type: ignore[misc]  # another one would be made, and drawn, before it
        self._first_query = query
        super().__init__()
        self.runs_dir = runs_dir
        self.run_directory = run
        """The run that the pages show."""
        self.manifest = manifest
        """The manifest that the page for them opens with."""
        self._start_at_once = manifest if start else None
        self.options = options or Options()
        """What engines and checks of manifests are started with."""
        self.view: RunView | None = None
        self.farewell = ""
        """What the terminal says once the app is left."""
        self._engines: list[Engine] = []
        self._starting: Engine | None = None
        """One of them, while it has no run yet."""
        self._watch: RunWatch | None = None
        self._before = self._came_from = page
        self._server = os.getppid()
        for theme in THEMES:
            self.register_theme(theme)
        if self._config.tui.theme in self.available_themes:
            self.set_reactive(LmrunApp.theme, self._config.tui.theme)

    def on_mount(self) -> None:
        """Start."""
        if self._first_query:
            self.call_later(self.samples, self._first_query)
        if not os.environ.get("TEXTUAL_ANIMATIONS"):
            self.animation_level = "none"
        if self._config.tui.theme not in self.available_themes:
            self.say(f"there is no theme {self._config.tui.theme!r}; f2 shows which there are", severity="warning")
        self.set_keymap(self._config.keys)
        self.open_run(self.run_directory)
        self.set_interval(TICK, self._tick)
        # The first key to another page need not wait for its modules, nor the first frame for those of other pages.
        self.set_timer(1.0, partial(self.run_worker, _import_pages, name="import", thread=True))
        if not self.is_headless:
            self._leave_on_sigterm()
            if sys.stdin.isatty():
                self.set_interval(1.0, hang_up_if_gone)
        if self._start_at_once:
            self.start(self._start_at_once)

    # -- the run -------------------------------------------------------------------------------------------------------

    def open_run(self, run: RunDirectory | None) -> None:
        """Show another run on all pages."""
        self.run_directory = run
        if self._watch:
            self._watch.close()
        self._watch = RunWatch(run) if run else None
        self.view = self._watch.look() if self._watch else None
        self._show()

    def on_unmount(self) -> None:
        """Let go of the run's files."""
        if self._watch:
            self._watch.close()

    def _tick(self) -> None:
        if self.is_web and os.getppid() != self._server:
            self.exit()  # the server was killed, and nobody sees this any more
        self._follow_engines()
        if self._starting:
            self.view = _starting_view(self._starting, self.view)
            self._show()
        else:
            self._look()

    def _look(self) -> None:
        if self._watch and all(worker.name != "look" or worker.is_finished for worker in self.workers):
            # Beside the loop: a slow disk must not hold up a key. One at a time: a slow look still ends.
            self.run_worker(self._watch.look, name="look", group="look", thread=True)

    def on_worker_state_changed(self, event: Worker.StateChanged) -> None:
        """A look has ended."""
        if event.worker.name == "look" and event.state is WorkerState.SUCCESS:
            view = event.worker.result
            if self.run_directory and isinstance(view, RunView) and view.id == self.run_directory.id:
                self._seen(view)

    def _seen(self, view: RunView) -> None:
        before = self.view
        if self._starting:
            return
        self.view = view
        if view.state == "dead" and before and before.id == view.id and before.state in LIVE:
            how = next((f" ({e.ending})" for e in self._engines if e.run == self.run_directory and e.ending), "")
            self.say(f"the engine of {view.name} has died{how}; R goes on with the run", severity="error")
        self._show()

    def _show(self) -> None:
        screen = self.screen if self.screen_stack else None
        if self.is_running and isinstance(screen, Page) and screen.is_mounted:
            screen.show(self.view)

    # -- its engine ----------------------------------------------------------------------------------------------------

    def say(self, words: str, *, severity: SeverityLevel = "information") -> None:
        """A few words in the corner."""
        self.notify(one_line(words), severity=severity, markup=False)

    def command(self, name: str, **arguments: str) -> None:
        """Send a command to the engine (``pause``, ``stop``, ``faster``, ``skip_job`` …), and show its words."""
        if self.run_directory is None:
            self.say("there is no run", severity="warning")
            return
        self._command(self.run_directory, name, arguments)

    @work(group="command")
    async def _command(self, run: RunDirectory, name: str, arguments: Mapping[str, str]) -> None:
        reply = await asyncio.to_thread(_send, run, name, arguments)
        self.say(reply.words, severity="information" if reply.ok else "warning")

    def start(self, manifest: Path) -> None:
        """Start an engine for a manifest, or one that resumes its run, and show that run."""
        self._start(manifest)

    @work(group="start", exclusive=True)
    async def _start(self, manifest: Path) -> None:
        try:
            runs_dir, live = await asyncio.to_thread(runs_of, manifest, self.options)
        except LmrunError as error:
            self.push_screen(Notice(f"{manifest.name} cannot run", error.in_full()))
            return
        if live and not self.options.fresh:
            self.open_run(live)
            self.go("dashboard")
            return
        self._begin(partial(start_batch, manifest, self.options, runs_dir))

    def resume(self, run: RunDirectory) -> None:
        """Start an engine that goes on with a run."""
        if self.view and self.view.id == run.id and self.view.state in LIVE:
            self.say("an engine works on this run")
            return
        if run != self.run_directory:
            self.open_run(run)
        self._begin(partial(start_retry, run))

    def _begin(self, start: Callable[[], Engine]) -> None:
        if self._starting:
            self.say(f"{self._starting.name} is starting; one at a time", severity="warning")
            return
        try:
            self._starting = start()
        except OSError as error:
            self.push_screen(Notice("no engine could be started", str(error)))
            return
        self._engines.append(self._starting)
        self._came_from = self.current_mode
        self.go("dashboard")
        self._tick()

    def _follow_engines(self) -> None:
        """Learn the run of one that is starting, or why it failed; and leave no zombie of those that have ended."""
        self._engines = [e for e in self._engines if e.exit_code is None or e is self._starting or e.run]
        engine = self._starting
        if engine is None:
            return
        engine.look()
        if engine.run:
            self._starting = None
            self.open_run(engine.run)
        elif engine.failure:
            self._starting = None
            self.open_run(self.run_directory)
            self.go(self._came_from)
            self.push_screen(Notice(f"{engine.name} did not start", engine.failure))

    def samples(self, query: SampleQuery) -> None:
        """Show samples of the run."""
        page = self.go("samples")
        from lmrun.tui.pages.samples import SamplesPage

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

    # -- leaving -------------------------------------------------------------------------------------------------------

    def action_leave(self) -> None:
        """Leave the app; where a run goes on, ask what becomes of it."""
        names = [run.id for run in self._live_runs()] + ([self._starting.name] if self._starting else [])
        if names:
            self.push_screen(Leave(names), self._leave)
        else:
            self.exit()

    async def action_quit(self) -> None:
        """Ctrl-Q."""
        self.action_leave()

    def action_help_quit(self) -> None:
        """Ctrl-C, where there is nothing to copy."""
        self.action_leave()

    def _live_runs(self) -> list[RunDirectory]:
        """The run on the screen, if an engine works on it, and others whose engine was started here."""
        shown = self.run_directory
        live = [shown] if shown and self.view and self.view.state in LIVE and not self._starting else []
        # An engine lives a moment longer than its run: of the one on the screen, its state decides.
        ours = [e.run for e in self._engines if e.run and e.run != shown and e.exit_code is None]
        return [*live, *dict.fromkeys(ours)]

    def _leave(self, choice: Choice | None) -> None:
        if choice == "stop":
            self._stop_and_leave()
        elif choice == "detach":
            self.leave()

    @work(group="leave")
    async def _stop_and_leave(self) -> None:
        if self._starting:
            self._starting.end()
        for run in self._live_runs():
            reply = await asyncio.to_thread(_send, run, "stop", {})
            if not reply.ok:
                self.say(reply.words, severity="error")
                return
        self.leave("stops; resume it with: lmrun retry")

    def leave(self, how: str = "goes on; watch it again with: lmrun tui") -> None:
        """Leave at once, whatever goes on: runs are not touched."""
        paths = [run.path for run in self._live_runs()] + ([self._starting.target] if self._starting else [])
        self.farewell = "".join(f"{path} {how} {path}\n" for path in paths)
        self.exit()

    def _leave_on_sigterm(self) -> None:
        """Leave the terminal in order. Where it is lost there is nothing to do: SIGHUP ends the app at once."""
        if hasattr(signal, "SIGTERM"):
            asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, self.leave)


def run_app(app: LmrunApp) -> None:
    """Run it until it is left."""
    # What was imported stays: to look for garbage in it takes longer than a frame, and is done before the first one.
    gc.freeze()
    write_utf8()
    app.run()


def _send(run: RunDirectory, name: str, arguments: Mapping[str, str]) -> Reply:
    with closing(ControlClient(run)) as client:
        return client.send(name, **arguments)


def _starting_view(engine: Engine, before: RunView | None) -> RunView:
    """What there is to see of an engine without a run."""
    again = before if before and engine.name in (before.id, before.name) else None
    view = again or RunView(
        id="", name=engine.name, state="starting", attached=False, phase="", detail="", elapsed=0.0, jobs=()
    )
    elapsed = time.monotonic() - engine.started
    return replace(
        view, state="starting", attached=False, phase=engine.phase, detail=engine.detail, elapsed=elapsed, eta=None
    )
