"""Lines over the time of a run."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from textual.color import Color
from textual_plotext import PlotextPlot

from lmrun.display.format import duration
from lmrun.store.gauges import Point

_COLOURS = ("primary", "accent", "warning", "secondary", "success", "error")
_TICKS = 5
"""Of the time."""
_STEPS = 3
"""Of the values, above zero."""


class TimePlot(PlotextPlot):
    """One line per name; several share a scale."""

    def __init__(self, title: str, amount: Callable[[float], str], *, id: str | None = None) -> None:  # noqa: A002
        """``amount`` puts a value into words."""
        super().__init__(id=id)
        self._title, self._amount = title, amount
        self._series: Mapping[str, Sequence[Point]] = {}

    def on_mount(self) -> None:
        """Colours follow the theme."""
        self.app.theme_changed_signal.subscribe(self, lambda _theme: self._plot_again())

    def show(self, series: Mapping[str, Sequence[Point]]) -> None:
        """By the name of a line, its points."""
        if series != self._series:
            self._series = series
            self._plot_again()

    def _plot_again(self) -> None:
        plot = self.plt
        plot.clear_figure()
        plot.title(self._title)
        moments = [point.time for points in self._series.values() for point in points]
        if not moments:
            return
        first, last = min(moments), max(moments)
        colours = self.app.theme_variables
        for number, (name, points) in enumerate(self._series.items()):
            colour = Color.parse(colours[_COLOURS[number % len(_COLOURS)]]).rgb
            label = name if len(self._series) > 1 else None
            times, values = [point.time - first for point in points], [point.value for point in points]
            plot.plot(times, values, label=label, color=colour, marker="hd")
        ticks = [(last - first) * n / (_TICKS - 1) for n in range(_TICKS)]
        plot.xticks(ticks, [duration(tick) if tick else "0" for tick in ticks])
        top = max(point.value for points in self._series.values() for point in points) or 1.0
        heights = [top * n / _STEPS for n in range(_STEPS + 1)]
        plot.ylim(0, top * 1.05)
        plot.yticks(heights, [self._amount(height) for height in heights])
        self.refresh()
