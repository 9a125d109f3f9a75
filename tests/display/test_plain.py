"""Plain lines: every change is told once, silence is broken by a heartbeat."""

from __future__ import annotations

import io

from lmrun.display.plain import HEARTBEAT, PlainSink
from lmrun.engine.progress import JobProgress, Tracker


class Clock:
    """Time that a test moves."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def scene() -> tuple[Clock, Tracker, io.StringIO, PlainSink]:
    clock, out = Clock(), io.StringIO()
    tracker = Tracker(clock)
    tracker.start("run-1", [JobProgress("demo", "arc", docs=2)])
    return clock, tracker, out, PlainSink(out)


def test_a_phase_is_told_once() -> None:
    _, tracker, out, sink = scene()
    tracker.phase("loading", "demo")
    sink.draw(tracker.snapshot())
    sink.draw(tracker.snapshot())
    assert out.getvalue().count("loading · demo") == 1


def test_heartbeat_breaks_the_silence() -> None:
    clock, tracker, out, sink = scene()
    tracker.phase("loading", "demo")
    sink.draw(tracker.snapshot())
    clock.now = HEARTBEAT
    sink.draw(tracker.snapshot())
    assert out.getvalue().count("loading") == 2


def test_a_stall_is_named() -> None:
    clock, tracker, out, sink = scene()
    tracker.phase("answering", "demo")
    clock.now = 61
    sink.draw(tracker.snapshot())
    assert "no answer for 1m01s" in out.getvalue()


def test_rate_and_forecast_while_answering() -> None:
    clock, tracker, out, sink = scene()
    tracker.update("demo", "arc", requests=8, state="answering")
    tracker.expect({"loglikelihood": 800})
    tracker.phase("answering", "demo")
    clock.now = 2
    tracker.worked({"loglikelihood": 400})
    tracker.answered("demo", "arc", 4, 0)
    sink.draw(tracker.snapshot())
    assert "demo arc: 4/8 requests · total 4/8 · 2.0 requests/s · ETA 2.0s" in out.getvalue()


def test_a_finished_job_is_told_once_with_its_score_and_errors() -> None:
    _, tracker, out, sink = scene()
    tracker.update("demo", "arc", state="done", requests=8, cache_hits=3, errors=1, headline="acc 0.5000 ± 0.1000")
    sink.draw(tracker.snapshot())
    sink.close(tracker.snapshot())
    assert out.getvalue().count("done: demo arc: acc 0.5000 ± 0.1000 (2 docs, 8 requests, 3 from cache, 1 ERRORS)") == 1


def test_notes_are_told_at_once_and_made_safe() -> None:
    _, tracker, out, sink = scene()
    tracker.note("model \x1b[31mx failed")
    sink.draw(tracker.snapshot())
    assert "model ␛x failed" in out.getvalue()


def test_the_forecast_keeps_the_pace_of_each_kind_apart_and_counts_down() -> None:
    clock, tracker, _, _ = scene()
    tracker.expect({"loglikelihood": 400, "generate_until": 800})
    tracker.phase("answering", "demo")
    clock.now = 2
    tracker.worked({"loglikelihood": 200})
    tracker.answered("demo", "arc", 2, 0)
    clock.now = 12
    tracker.worked({"generate_until": 400})
    tracker.answered("demo", "arc", 1, 0)
    assert tracker.snapshot().eta == 2 + 10
    clock.now = 15
    assert tracker.snapshot().eta == 9


def test_spending_stands_in_the_totals() -> None:
    _, tracker, out, sink = scene()
    tracker.phase("answering", "demo")
    sink.draw(tracker.snapshot())
    assert "tokens" not in out.getvalue()
    tracker.spend(1.24, 3_200_000)
    tracker.phase("scoring", "demo")
    sink.draw(tracker.snapshot())
    assert "1.24 USD, 3.2M tokens" in out.getvalue()
