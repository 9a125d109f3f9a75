"""What the sending half says of itself, for the live view and the log."""

from __future__ import annotations

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
        kinds = ", ".join(_SHORT.get(kind, kind.removeprefix("http_")) for kind in sorted(retrying))
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
    return Usage(phase=", ".join(words), facts=facts)
