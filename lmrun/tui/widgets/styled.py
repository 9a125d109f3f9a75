"""What draws its lines itself, in styles that are found once."""

from __future__ import annotations

from rich.style import Style
from textual.geometry import Region
from textual.scroll_view import ScrollView
from textual.strip import Strip


class StyledLines(ScrollView):
    """Lines in a base style and styles over it. Both are kept, for to find one takes longer than to draw a line."""

    def __init__(self, *, id: str | None = None) -> None:  # noqa: A002
        super().__init__(id=id)
        self._base = Style.null()
        """Of all lines that are drawn together."""
        self._styles: dict[tuple[object, ...], Style] = {}
        """By what makes them, until the look changes: Textual forgets its own whenever all lines are drawn again."""

    def render_lines(self, crop: Region) -> list[Strip]:
        """Lines, with their base style found once."""
        self._base = self.rich_style
        return super().render_lines(crop)

    def notify_style_update(self) -> None:
        """Another theme, or another state."""
        self._styles.clear()
        super().notify_style_update()
