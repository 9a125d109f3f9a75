"""What the sending half says of itself, for the live view and the log."""

from __future__ import annotations

from collections.abc import Sequence

from lmrun.backends.api.limits import Limits
from lmrun.backends.api.pump import Pump
from lmrun.backends.api.sender import Sender
from lmrun.backends.base import Usage

_SHORT = {"rate_limited": "429", "connection": "no connection", "timeout": "time-out"}


def usage(sender: Sender | None, pump: Pump | None) -> Usage:
    """In words and in numbers."""
    if sender is None:
        return Usage()
    limits, counts = sender.gate.limits, sender.counts
    allowed, rate = int(limits.window.size), pump.rate() if pump else 0.0
    paused = max(0.0, limits.paused_until - sender.gate.now())
    words = [f"in flight {limits.in_flight}/{allowed}"]
    retrying = {kind: n for kind, n in dict(counts.retrying).items() if n > 0}
    if retrying:
        kinds = ", ".join(_short(kind) for kind in sorted(retrying))
        words.append(f"{sum(retrying.values())} retrying ({kinds})")
    if limits.rate is not None:
        words.append(f"limit {limits.rate:.1f} requests/s")
    if paused >= 1:
        words.append(f"paused for {paused:.0f} s at the server's request")
    facts = {
        "in_flight": limits.in_flight,
        "window": allowed,
        "requests_sent": counts.sent,
        "retries": counts.retries,
        "failures": dict(counts.failures),
        "retrying": sum(retrying.values()),
        "requests_per_second": round(rate, 2),
        "limit_per_second": None if limits.rate is None else round(limits.rate, 2),
        "drained": pump.drained if pump else 0,
        "abandoned": pump.abandoned if pump else 0,
    }
    return Usage(
        phase=", ".join(words),
        facts=facts,
        in_flight=limits.in_flight,
        limit=allowed,
        held_by=_held_by(limits, sorted(retrying), paused),
        retries=counts.retries,
    )


def _held_by(limits: Limits, retrying: Sequence[str], paused: float) -> str:
    """What keeps more from being sent, in a word or two; empty where nothing does but the window."""
    if paused >= 1:
        return f"paused by server {paused:.0f} s"
    if retrying:
        return ", ".join(_short(kind) for kind in retrying)
    if limits.learned.pace is not None:
        return "429"
    return f"{limits.rate:.1f}/s" if limits.rate is not None else ""


def _short(kind: str) -> str:
    return _SHORT.get(kind, kind.removeprefix("http_"))
