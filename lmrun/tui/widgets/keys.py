"""The keys of a page, below it."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

from rich.cells import cell_len
from rich.text import Text
from textual.app import RenderResult
from textual.binding import ActiveBinding
from textual.events import Click
from textual.screen import Screen
from textual.widget import Widget


class Keys(Widget):
    """The keys of the page, in one widget: that of Textual mounts one for each at every change, and keeps them all."""

    COMPONENT_CLASSES: ClassVar[set[str]] = {"keys--key"}
    DEFAULT_CSS = """
    Keys { dock: bottom; height: 1; background: $footer-background; color: $footer-foreground; }
    Keys .keys--key { color: $footer-key-foreground; text-style: bold; }
    """

    def __init__(self, offers: Callable[[str], bool] = lambda _action: True) -> None:
        """``offers`` says of an action whether it can do something as things are: its key is shown only then."""
        super().__init__()
        self._offers = offers

    def on_mount(self) -> None:
        """Keys change with the page and with what has the focus."""
        self.screen.bindings_updated_signal.subscribe(self, self._changed)

    def _changed(self, _screen: Screen[object]) -> None:
        self.refresh()

    def _shown(self) -> list[tuple[str, str, str]]:
        """Key, its sign, what it does: as many as there is room for, the last ones being those of the app."""
        seen: dict[str, ActiveBinding] = {}
        for active in self.screen.active_bindings.values():
            if active.binding.show and active.enabled and self._offers(active.binding.action):
                seen.setdefault(active.binding.action, active)
        own = [active for active in seen.values() if active.node is not self.app]
        everywhere = [active for active in seen.values() if active.node is self.app]
        keys = [
            (active.binding.key, self.app.get_key_display(active.binding), active.binding.description)
            for active in (*own, *everywhere)
        ]
        while keys and sum(_width(*key) for key in keys) > self.size.width:
            del keys[max(0, len(keys) - len(everywhere) - 1)]
        return keys

    def render(self) -> RenderResult:
        """``/ filter  l level  ? help``."""
        style = self.get_component_rich_style("keys--key")
        text = Text(no_wrap=True)
        for _, sign, words in self._shown():
            text.append(f" {sign}", style).append(f" {words} ")
        return text

    def on_click(self, event: Click) -> None:
        """The same as the key."""
        end = 0
        for key in self._shown():
            end += _width(*key)
            if event.x < end:
                self.app.simulate_key(key[0])
                return


def _width(_key: str, sign: str, words: str) -> int:
    return cell_len(sign) + cell_len(words) + 3
