"""The tracker: what models do of late, and a pause that spoils nothing."""

from __future__ import annotations

import pytest

from lmrun.backends.base import Usage
from lmrun.engine.pace import Pace
from lmrun.engine.progress import Device, JobProgress, Machine, ModelProgress, Tracker
from tests.display.test_plain import Clock


def scene() -> tuple[Clock, Tracker]:
    clock = Clock()
    tracker = Tracker(clock)
    jobs = [JobProgress("m", "a", requests=100), JobProgress("m", "b", requests=10), JobProgress("other", "a")]
    tracker.start("run", jobs, [ModelProgress(name, "scripted", "tiny") for name in ("m", "other")])
    return clock, tracker


def answering() -> tuple[Clock, Tracker]:
    """Two requests per second for ten seconds, of three tokens each."""
    clock, tracker = scene()
    tracker.phase("answering", "m")
    tracker.expect({"loglikelihood": 110})
    tracker.update_model("m", state="answering")
    tracker.update("m", "a", state="answering")
    for _ in range(10):
        clock.now += 1
        tracker.worked({"loglikelihood": 2})
        tracker.answered("m", "a", 2, 0, 6)
    return clock, tracker


def test_models_and_jobs_have_their_own_pace() -> None:
    _, tracker = answering()
    now = tracker.snapshot()
    model, other = now.models
    assert (model.state, model.requests_per_second, model.tokens_per_second) == ("answering", 2.0, 6.0)
    assert (other.state, other.requests_per_second) == ("waiting", None)
    assert [(job.tokens_per_second, job.eta) for job in now.jobs] == [(6.0, 40.0), (None, None), (None, None)]


def test_what_a_backend_says_of_its_work_counts_in_place_of_its_answers() -> None:
    """A fifth of the answers after half of the time: what they all begin with was computed first."""
    clock, tracker = scene()
    rest: list[float | None] = [None]
    tracker.watch(lambda: Usage(rest=rest[0]), "m")
    tracker.expect({"loglikelihood": 200})
    tracker.give("m", "a", "loglikelihood", 200)
    clock.now += 60  # loading is not work
    tracker.phase("answering", "m")
    tracker.update("m", "a", state="answering")
    assert tracker.snapshot().eta is None
    etas = []
    for seconds, said, answers in [(10, 10.0, 20), (0, 10.0, 0), (5, 5.0, 40), (2, 9.0, 0), (9, 0.0, 40)]:
        clock.now += seconds
        rest[0] = said
        if answers:
            tracker.worked({"loglikelihood": answers})
            tracker.answered("m", "a", answers, 0)
        now = tracker.snapshot()
        assert now.jobs[0].eta == said, "of the job that it works on"
        etas.append(now.eta)
    assert etas == [10.0, 10.0, 5.0, 9.0, 0.0]


def test_what_a_backend_said_grows_old_but_not_in_a_pause() -> None:
    clock, tracker = scene()
    tracker.watch(lambda: Usage(rest=30.0), "m")
    tracker.expect({"loglikelihood": 100})
    tracker.give("m", "a", "loglikelihood", 100)
    tracker.phase("answering", "m")
    etas = []
    for seconds in (0, 10, 10, 20):
        clock.now += seconds
        etas.append(tracker.snapshot().eta)
        tracker.pause(True)
        clock.now += 3600
        assert tracker.snapshot().eta == etas[-1]
        tracker.pause(False)
    assert etas == [30.0, 20.0, 10.0, 0.0]


def test_other_jobs_go_at_the_pace_of_the_one_that_is_worked_on() -> None:
    clock, tracker = scene()
    rest = [15.0]
    tracker.watch(lambda: Usage(rest=rest[0]), "m")
    tracker.expect({"loglikelihood": 300})
    tracker.give("m", "a", "loglikelihood", 100)
    tracker.phase("answering", "m")
    clock.now += 5
    assert tracker.snapshot().eta == 15 + 40, "20 seconds for a third of the work"
    clock.now += 15
    rest[0] = 0.0
    tracker.worked({"loglikelihood": 1})
    tracker.give("m", "b", "loglikelihood", 200)
    tracker.phase("answering", "m")
    rest[0] = 30.0
    assert tracker.snapshot().eta == 30


def test_a_backend_that_cannot_tell_any_more_is_judged_by_its_answers() -> None:
    clock, tracker = scene()
    rest: list[float | None] = [10.0]
    tracker.watch(lambda: Usage(rest=rest[0]), "m")
    tracker.expect({"loglikelihood": 100})
    tracker.give("m", "a", "loglikelihood", 100)
    tracker.phase("answering", "m")
    clock.now += 10
    tracker.worked({"loglikelihood": 1})
    assert tracker.snapshot().eta == 10
    rest[0] = None
    clock.now += 10
    tracker.worked({"loglikelihood": 25})
    assert tracker.snapshot().eta == pytest.approx(25 * 20 / 75)


def local(work: int = 100) -> tuple[Clock, Tracker, list[float | None]]:
    """A backend that works on half of all, and what it says."""
    clock, tracker = scene()
    rest: list[float | None] = [None]
    tracker.watch(lambda: Usage(rest=rest[0]), "m")
    tracker.expect({"loglikelihood": 2 * work})
    tracker.phase("answering", "m")
    tracker.give("m", "a", "loglikelihood", work)
    return clock, tracker, rest


def test_what_was_given_is_done_when_the_backend_is() -> None:
    """Short answers may all come before it has looked ahead once more: it thought of 90 seconds, and took 10."""
    clock, tracker, rest = local()
    clock.now += 1
    rest[0] = 90.0
    tracker.snapshot()
    clock.now += 9
    tracker.worked({"loglikelihood": 100})
    tracker.settle()
    assert tracker.snapshot().eta == 10, "as long for the other half"


def test_what_is_refused_at_once_tells_nothing_of_the_pace_and_is_not_counted_twice() -> None:
    clock, tracker, rest = local()
    tracker.worked({"loglikelihood": 90})
    clock.now += 2
    rest[0] = 8.0
    assert tracker.snapshot().eta == 8 + 100, "10 seconds for a tenth"
    clock.now += 8
    rest[0] = 0.0
    tracker.worked({"loglikelihood": 10})
    tracker.settle()
    assert tracker.snapshot().eta == 100


def test_another_model_has_another_pace() -> None:
    clock, tracker, rest = local()
    clock.now += 1
    rest[0] = 0.0
    tracker.worked({"loglikelihood": 100})
    tracker.watch(None)
    tracker.expect({"loglikelihood": 100})
    tracker.watch(Usage, "other")
    tracker.phase("answering", "other")
    assert tracker.snapshot().eta is None
    clock.now += 50
    tracker.worked({"loglikelihood": 10})
    assert tracker.snapshot().eta == 450


def test_a_backend_that_gets_on_is_not_silent() -> None:
    clock, tracker, rest = local()
    silences = []
    for said in (None, 30.0, 20.0, 20.0):
        clock.now += 10
        rest[0] = said
        silences.append(tracker.snapshot().silent)
    assert silences == [10.0, 0.0, 0.0, 10.0]


def test_a_pace_forgets_what_is_long_ago() -> None:
    pace = Pace(0.0)
    assert pace.rates(5.0) == (None, None)
    for second in range(1, 1001):
        pace.add(float(second), 10, 0)
    for step in range(1, 1001):
        pace.add(1000 + step / 10, 1, 3)
    requests, tokens = pace.rates(1100.0)
    assert requests and tokens
    assert requests == pytest.approx(10) and tokens == pytest.approx(30)
    assert len(pace._marks) < 40


def test_a_pace_of_long_batches_is_known() -> None:
    pace = Pace(0.0)
    for batch in range(1, 10):
        pace.add(60.0 * batch, 30, 300)
    assert pace.rates(540.0) == (0.5, 5.0)
    assert pace.rates(599.0) == (0.5, 5.0), "the next batch is not late yet"
    late, _ = pace.rates(900.0)
    assert late and late < 0.4
    assert (pace.seconds_for(60, 540.0), pace.seconds_for(60, 570.0)) == (120.0, 90.0)
    assert pace.seconds_for(60, 10_000.0) == 0.0


def test_a_pause_spoils_neither_time_nor_pace_nor_forecast() -> None:
    clock, tracker = answering()
    before = tracker.snapshot()
    tracker.pause(True)
    clock.now += 3600
    paused = tracker.snapshot()
    assert paused.paused
    assert (paused.elapsed, paused.eta, paused.rate, paused.silent) == (10.0, before.eta, before.rate, 0.0)
    assert paused.models == before.models and paused.jobs == before.jobs
    tracker.pause(False)
    tracker.pause(False)
    after = tracker.snapshot()
    assert not after.paused and after.elapsed == 10.0 and after.models == before.models
    clock.now += 1
    assert tracker.snapshot().elapsed == 11.0


@pytest.mark.parametrize("phase", ["draining", "interrupted", "finished"])
def test_what_ends_is_not_paused(phase: str) -> None:
    _, tracker = answering()
    tracker.pause(True)
    tracker.phase(phase)  # type: ignore[arg-type]
    assert not tracker.snapshot().paused


def test_what_the_backend_says_is_on_its_models_line() -> None:
    _, tracker = answering()
    tracker.watch(lambda: Usage(in_flight=3, limit=8, held_by="429", retries=2), "m")
    tracker.update_model("m", steerable=True, usd=0.5, tokens=7)
    model, other = tracker.snapshot().models
    shown = model.in_flight, model.limit, model.held_by, model.retries, model.steerable, model.usd, model.tokens
    assert shown == (3, 8, "429", 2, True, 0.5, 7)
    assert (other.in_flight, other.retries, other.steerable) == (None, 0, False)
    tracker.watch(None)
    model, _ = tracker.snapshot().models
    assert (model.in_flight, model.retries, model.steerable) == (None, 2, False)


def test_the_machine_is_read_with_each_snapshot() -> None:
    _, tracker = scene()
    assert (tracker.snapshot().devices, tracker.snapshot().rss) == ((), None)
    gpu = Device("0 H200", 1.0, 2.0)
    tracker.measure(lambda: Machine((gpu,), 3.0, 4.0))
    now = tracker.snapshot()
    assert (now.devices, now.rss, now.cpu) == ((gpu,), 3.0, 4.0)
