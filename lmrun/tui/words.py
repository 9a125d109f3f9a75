"""Numbers of a run in few characters."""

from __future__ import annotations

from lmrun.display.format import brief, duration, share
from lmrun.tui.state import JobLine

_EIGHTHS = " ▏▎▍▌▋▊▉█"
_HEIGHTS = "▁▂▃▄▅▆▇█"


def bar(fraction: float, width: int) -> str:
    """A bar in exactly ``width`` cells, drawn to an eighth of one."""
    eighths = round(max(0.0, min(1.0, fraction)) * width * 8)
    full, rest = divmod(eighths, 8)
    return ("█" * full + (_EIGHTHS[rest] if rest else "")).ljust(width)


def sparkline(values: tuple[float, ...], width: int) -> str:
    """The last values as heights, right-aligned in ``width`` cells."""
    shown = values[-width:]
    top = 1.2 * max(shown, default=0.0)  # steady values are a band, not a block
    heights = (_HEIGHTS[round(max(0.0, value) / top * 7)] if top > 0 else _HEIGHTS[0] for value in shown)
    return "".join(heights).rjust(width)


def score(value: float | None, interval: tuple[float, float] | None, *, percent: bool) -> str:
    """A score with its 95% interval: ``56.1 [55.0, 57.2]``."""
    if value is None:
        return ""
    words = _amount(value, percent=percent)
    if interval is None:
        return words
    low, high = (_amount(bound, percent=percent) for bound in interval)
    return f"{words} [{low}, {high}]"


def _amount(value: float, *, percent: bool) -> str:
    if percent:
        return f"{100 * value:.1f}"
    size = abs(value)
    if size >= 10_000:
        return brief(round(value))
    return f"{value:.3f}" if size < 1 else f"{value:.2f}" if size < 100 else f"{value:.1f}"


def job_score(job: JobLine) -> str:
    """Of a job."""
    return score(job.value, job.interval, percent=job.percent)


def speed(per_second: float | None) -> str:
    """A number per second, without its unit."""
    if per_second is None:
        return ""
    return f"{per_second:.1f}" if per_second < 100 else brief(round(per_second))


def remaining(seconds: float | None) -> str:
    """An ETA."""
    return "" if seconds is None else duration(round(seconds)) if seconds >= 10 else f"{seconds:.0f}s"


def percentage(part: float, whole: float) -> str:
    """A share of something; ``0%`` of nothing."""
    return (share(part / whole) or "0%") if whole else "0%"


def memory(used: float) -> str:
    """Bytes of a process or device, in the units that their makers use."""
    amount = used / 2**20
    return f"{amount:,.0f} MB" if amount < 1024 else f"{amount / 1024:,.1f} GB"
