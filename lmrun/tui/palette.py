"""Every action by its name."""

from __future__ import annotations

from functools import partial

from textual.command import DiscoveryHit, Hit, Hits, Provider

from lmrun.tui.actions import APP, PAGES, TABLE, Action


class Actions(Provider):
    """The actions of the page below the palette, then those of the app."""

    def _known(self) -> list[tuple[str, Action]]:
        page = getattr(self.screen, "page", "")
        own = [("screen", action) for action in PAGES.get(page, ())]
        return own + [("focused", action) for action in TABLE] + [("app", action) for action in APP]

    async def discover(self) -> Hits:
        """Everything, before anything is typed."""
        for where, action in self._known():
            yield DiscoveryHit(self._title(action), partial(self._do, where, action), help=action.help)

    async def search(self, query: str) -> Hits:
        """What fits."""
        matcher = self.matcher(query)
        for where, action in self._known():
            title = self._title(action)
            score = max(matcher.match(title), matcher.match(action.help))
            if score > 0:
                yield Hit(score, matcher.highlight(title), partial(self._do, where, action), help=action.help)

    def _title(self, action: Action) -> str:
        return f"{action.label}  ({action.keys.split(',')[0]})"

    async def _do(self, where: str, action: Action) -> None:
        await self.app.run_action(f"{where}.{action.name}")
