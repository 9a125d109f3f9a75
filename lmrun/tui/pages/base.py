"""What every page has."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from textual.app import ComposeResult
from textual.binding import BindingType
from textual.screen import Screen

from lmrun.tui.actions import bindings
from lmrun.tui.state import RunView
from lmrun.tui.widgets.frame import Header
from lmrun.tui.widgets.keys import Keys

if TYPE_CHECKING:
    from lmrun.tui.app import LmrunApp

NARROW, SHORT = 100, 30
"""Columns and lines below which a page has the class ``-narrow`` or ``-short``."""


def app_of(screen: Screen[Any]) -> LmrunApp:
    """The app that a screen is of."""
    from lmrun.tui.app import LmrunApp

    app = screen.app
    assert isinstance(app, LmrunApp)
    return app


class Page(Screen[None]):
    """A page of the app: header, body, footer. Subclasses state ``page`` and write :meth:`body`."""

    page: ClassVar[str]
    """Its key in the table of actions."""
    BINDINGS: ClassVar[list[BindingType]] = []

    def __init_subclass__(cls, **kwargs: object) -> None:
        if "page" in cls.__dict__:
            cls.BINDINGS = bindings(cls.page)
        super().__init_subclass__(**kwargs)  # type: ignore[arg-type]

    @property
    def lmrun(self) -> LmrunApp:
        """The app."""
        return app_of(self)

    def compose(self) -> ComposeResult:
        """Header, body, footer."""
        yield Header(self.page)
        yield from self.body()
        yield Keys(self.offers)

    def offers(self, action: str) -> bool:
        """Whether an action can do something as things are; the footer has no key for one that cannot."""
        return True

    def body(self) -> ComposeResult:
        """What is between them."""
        raise NotImplementedError

    def on_resize(self) -> None:
        """Say to the style sheet how much room there is."""
        self.set_class(self.size.width < NARROW, "-narrow")
        self.set_class(self.size.height < SHORT, "-short")

    def on_screen_resume(self) -> None:
        """The page is shown (again)."""
        self.show(self.lmrun.view)

    def _compositor_refresh(self) -> None:
        """Draw; but not while the app starts: Textual would throw away what was drawn, and it would be drawn again."""
        if not self.app._batch_count:
            super()._compositor_refresh()

    def show(self, view: RunView | None) -> None:
        """The run as it is now; called four times a second while the page is shown. None: there is no run."""
        self.query_one(Header).show(view)
        self.draw(view)

    def draw(self, view: RunView | None) -> None:
        """Bring the body up to date."""
