"""What is known of a run: from an engine that answers, from its files when none does, and when the files are gone."""

from __future__ import annotations

import os
import shutil
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from lmrun.engine.progress import JobProgress, ModelProgress, Phase, Snapshot
from lmrun.store.reader import RunReader
from lmrun.store.records import MetricRecord
from lmrun.store.runs import RunDirectory, all_runs
from lmrun.store.writer import RunStore
from lmrun.tui import watch as module
from lmrun.tui.history import History
from lmrun.tui.state import RunView
from lmrun.tui.stored import is_share
from lmrun.tui.watch import Engine, RunWatch
from tests.tui.conftest import World

PATIENCE = 60.0


class Clock:
    """Goes on when it is told to."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class Scripted:
    """An engine that says what the test wants."""

    def __init__(self, *snapshots: Snapshot | None) -> None:
        self.snapshots = list(snapshots)
        self.closed = False

    def snapshot(self) -> Snapshot | None:
        return self.snapshots.pop(0) if len(self.snapshots) > 1 else self.snapshots[0]

    def close(self) -> None:
        self.closed = True


def snapshot(*jobs: JobProgress, phase: Phase = "answering", silent: float = 0.0, paused: bool = False) -> Snapshot:
    models = [ModelProgress("stub", "scripted", "stub", "answering", 10.0, 250.0, 3, 8)]
    return Snapshot(
        run_id="x",
        phase=phase,
        detail="batch 2",
        since=0.0,
        elapsed=12.0,
        jobs=jobs,
        silent=silent,
        facts={},
        rate=10.0,
        eta=20.0,
        usd=0.5,
        tokens=1000,
        notes=("a note",),
        models=models,
        paused=paused,
    )


@contextmanager
def watching(
    run: RunDirectory, engine: Engine | None = None, clock: Callable[[], float] | None = None
) -> Iterator[RunWatch]:
    watch = RunWatch(run, engine or Scripted(None), clock or time.monotonic)
    try:
        yield watch
    finally:
        watch.close()


def until(look: Callable[[], RunView], condition: Callable[[RunView], object]) -> RunView:
    end = time.monotonic() + PATIENCE
    while not condition(view := look()):
        assert time.monotonic() < end, f"it did not come to that: {view}"
    return view


def set_facts(run: RunDirectory, **facts: object) -> None:
    store = RunStore(run)
    store.set_info(**facts)
    store.close()


# -- from the files ----------------------------------------------------------------------------------------------------


def test_a_finished_run_has_scores_with_intervals(two_models: RunDirectory) -> None:
    with closing(RunReader(two_models)) as reader:
        jobs = reader.jobs()
        expected = {job.id: reader.metrics(job.id)[0] for job in jobs}
    with watching(two_models) as watch:
        view = watch.look()
        assert view.state == "complete" and not view.attached and not view.problem
        assert [(job.model, job.label) for job in view.jobs] == [(job.model, job.label) for job in jobs]
        for job in view.jobs:
            metric = expected[job.id]
            assert metric.interval is not None
            assert (job.metric, job.value, job.interval) == (metric.metric, metric.value, tuple(metric.interval))
            assert job.percent and job.state == "done" and job.done == job.requests > 0
        assert view.done == view.requests == sum(job.requests for job in jobs)
        # What takes long to sum up comes in later looks.
        later = until(watch.look, lambda view: view.tokens)
        assert later.tokens == sum(model.tokens for model in later.models)
        assert {model.name: model.state for model in later.models} == {"first": "done", "second": "done"}


def test_what_has_not_changed_is_not_read_again(finished: RunDirectory, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[str] = []

    def counted(name: str) -> None:
        original = getattr(RunReader, name)

        def question(self: RunReader, *arguments: int) -> object:
            read.append(name)
            return original(self, *arguments)

        monkeypatch.setattr(RunReader, name, question)

    for name in ("jobs", "info", "metrics", "extractions", "tokens"):
        counted(name)
    clock = Clock()
    with watching(finished, clock=clock) as watch:
        until(watch.look, lambda view: view.tokens)
        read.clear()
        for _ in range(5):
            clock.now += 10
            watch.look()
        assert read == []
        set_facts(finished, name="another")
        assert watch.look().name == "another" and "jobs" in read
        read.clear()
        set_facts(finished, name="a third")
        assert watch.look().name == "a third"
        assert "jobs" not in read, "what takes long is read again only after a pause"
        clock.now += 10
        watch.look()
        assert "jobs" in read


def test_a_job_that_ends_is_read_at_once(finished: RunDirectory) -> None:
    with watching(finished, clock=Clock()) as watch:
        first = watch.look().jobs[0]
        store = RunStore(finished)
        store.set_job(first.id, "failed", {"kind": "X", "message": "no more", "hint": None})
        store.close()
        job = watch.look().jobs[0]
        assert (job.state, job.error) == ("failed", "no more")


def test_a_job_left_out_is_skipped(finished: RunDirectory) -> None:
    store = RunStore(finished)
    store.set_job(1, "failed", {"kind": "LeftOut", "message": "left out on request", "hint": None})
    store.close()
    with watching(finished) as watch:
        assert watch.look().jobs[0].state == "skipped"


def test_remarks_of_a_score_come_with_it(world: World) -> None:
    run = world.run(world.manifest(world.stub(replies=["none"]), tasks='[[tasks]]\nname = "speech"\n')).directory
    with watching(run) as watch:
        view = until(watch.look, lambda view: view.jobs[0].remarks)
    assert view.jobs[0].remarks == "no match 100.0% (number)"


def test_a_model_that_did_not_start_fails_its_jobs(world: World) -> None:
    run = world.run(world.manifest(world.stub(load_error="no weights there"))).directory
    with watching(run) as watch:
        (job,) = watch.look().jobs
    assert job.state == "failed" and "no weights there" in job.error


@pytest.mark.parametrize(
    ("metric", "higher", "value", "share"),
    [
        ("acc", True, 0.5, True),
        ("brier_score", False, 0.2, False),
        ("bleu", True, 0.7, False),
        ("score", True, 7.0, False),
    ],
)
def test_only_shares_are_percentages(metric: str, higher: bool, value: float, share: bool) -> None:
    assert is_share(MetricRecord(metric, "none", value, 0.1, None, 10, higher)) is share


# -- from an engine ----------------------------------------------------------------------------------------------------


def test_an_engine_counts_and_the_files_have_the_scores(two_models: RunDirectory) -> None:
    jobs = (
        JobProgress("first", "colours", 10, 10, 30, 30, 0, 0, "done", "acc 0.1", "truncated 1.0%"),
        JobProgress("first", "speech", 10, 10, 10, 4, 1, 2, "answering", tokens_per_second=5.0, eta=3.0),
    )
    with watching(two_models, Scripted(snapshot(*jobs))) as watch:
        view = watch.look()
    done, working = view.jobs
    assert (view.state, view.attached, view.phase, view.elapsed) == ("running", True, "answering", 12.0)
    assert done.value is not None and done.interval is not None and done.remarks == "truncated 1.0%"
    assert (working.value, working.done, working.errors, working.eta) == (None, 4, 2, 3.0)
    assert (view.done, view.requests, view.cache_hits, view.errors) == (34, 40, 1, 2)
    assert view.history == {"stub": (250.0,)} and view.notes == ("a note",)


def test_jobs_of_models_to_come_count_as_those_of_the_first(two_models: RunDirectory) -> None:
    jobs = (
        JobProgress("first", "speech", 10, 10, 10, 4, state="answering"),
        JobProgress("third", "speech", 10, 10, state="ready"),
        JobProgress("third", "other", 10, state="waiting"),
    )
    with watching(two_models, Scripted(snapshot(*jobs))) as watch:
        view = watch.look()
    assert view.requests == 20
    assert view.eta == 20.0 + 10 / 10.0


@pytest.mark.parametrize(
    ("phase", "paused", "state"),
    [
        ("planning", False, "starting"),
        ("loading", False, "running"),
        ("answering", True, "paused"),
        ("draining", True, "draining"),
        ("finished", False, "complete"),
    ],
)
def test_the_state_is_that_of_the_engine(finished: RunDirectory, phase: Phase, paused: bool, state: str) -> None:
    with watching(finished, Scripted(snapshot(phase=phase, paused=paused))) as watch:
        assert watch.look().state == state


def test_silence_is_told_unless_the_run_is_paused(finished: RunDirectory) -> None:
    with watching(finished, Scripted(snapshot(silent=30.0), snapshot(silent=30.0, paused=True))) as watch:
        assert watch.look().stalled == "no answer for 30s"
        assert watch.look().stalled == ""


def test_a_paused_run_has_no_speed_and_no_end(finished: RunDirectory) -> None:
    job = JobProgress(
        "stub", "colours", docs=10, requests=40, done=4, state="answering", tokens_per_second=9.0, eta=5.0
    )
    with watching(finished, Scripted(snapshot(job, paused=True))) as watch:
        view = watch.look()
    assert view.rate is None and view.eta is None
    assert (view.models[0].state, view.models[0].tokens_per_second) == ("paused", None)
    assert [(line.done, line.tokens_per_second, line.eta) for line in view.jobs] == [(4, None, None)]


def test_history_keeps_one_value_a_second_and_not_all() -> None:
    history = History()
    models = [ModelProgress("fast", "b", "m", requests_per_second=2.0)]
    for tick in range(1000):
        history.add(tick / 4, models)
    assert set(history.values()["fast"]) == {2.0} and len(history.values()["fast"]) == 120


# -- no engine answers -------------------------------------------------------------------------------------------------


def test_a_run_without_its_process_is_dead_at_once(finished: RunDirectory) -> None:
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    set_facts(finished, status="running", pid=gone.pid, host=socket.gethostname(), finished=None)
    with watching(finished) as watch:
        view = watch.look()
        assert view.state == "dead"
        assert watch.look().elapsed == view.elapsed, "no time goes by for it"


def test_a_process_that_began_later_is_another_one(finished: RunDirectory) -> None:
    set_facts(finished, status="running", pid=os.getpid(), host=socket.gethostname())
    with watching(finished) as watch:
        assert watch.look().state == "starting"
    with closing(sqlite3.connect(finished.database)) as db:
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    for path in (finished.database, finished.database.with_name("run.db-wal")):
        if path.exists():
            os.utime(path, (1000.0, 1000.0))
    with watching(finished) as watch:
        assert watch.look().state == "dead"


def test_an_engine_that_lives_but_never_answers_is_said_to(finished: RunDirectory) -> None:
    clock = Clock()
    set_facts(finished, status="running", pid=os.getpid(), host=socket.gethostname())
    with watching(finished, clock=clock) as watch:
        assert watch.look().state == "starting"
        clock.now += module.START
        view = watch.look()
    assert view.state == "running" and view.stalled == f"the engine, process {os.getpid()}, does not answer"


def test_a_run_on_another_host_is_believed(finished: RunDirectory) -> None:
    set_facts(finished, status="running", pid=1, host="elsewhere")
    with watching(finished) as watch:
        view = watch.look()
    assert view.state == "running" and "elsewhere" in view.stalled and not view.attached


def test_a_killed_engine_is_seen(world: World) -> None:
    manifest = world.manifest(world.stub(latency_ms=50, chunk=1, streaming=True, in_flight=1))
    command = [sys.executable, "-m", "lmrun", "batch", str(manifest), "--runs-dir", "runs", "--no-cache"]
    repository = str(Path(__file__).parents[2])
    engine = subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env={**os.environ, "PYTHONPATH": repository}
    )
    try:
        end = time.monotonic() + PATIENCE
        while not (found := [run for run in all_runs(Path("runs")) if run.control.exists()]):
            assert time.monotonic() < end and engine.poll() is None
            time.sleep(0.01)
        watch = RunWatch(found[0])
        view = until(watch.look, lambda view: view.attached and view.done)
        assert view.state == "running" and view.models[0].state == "answering"
        engine.kill()
        # Its parent has not waited for it: it is a zombie, and as dead as any other.
        view = until(watch.look, lambda view: view.state == "dead")
        assert view.jobs[0].state == "waiting"
        total = until(watch.look, lambda view: view.requests).requests
        assert total == 30, "what is left to ask is counted from the files"
        watch.close()
    finally:
        engine.kill()
        engine.wait()


# -- files that cannot be read -----------------------------------------------------------------------------------------


def test_a_deleted_run_stays_in_view(finished: RunDirectory) -> None:
    with watching(finished) as watch:
        before = watch.look()
        shutil.rmtree(finished.path)
        view = watch.look()
    assert view.problem == "the folder of the run is gone"
    assert view.jobs == before.jobs


def test_a_schema_of_another_version_is_said(finished: RunDirectory) -> None:
    with closing(sqlite3.connect(finished.database)) as db:
        db.execute("PRAGMA user_version = 1")
    with watching(finished) as watch:
        view = watch.look()
    assert "schema version 1" in view.problem and view.id == finished.id


def test_a_file_that_is_no_database_is_said(finished: RunDirectory) -> None:
    finished.database.write_bytes(b"no database at all" * 1000)
    with watching(finished) as watch:
        assert "cannot be" in watch.look().problem


def test_a_busy_database_leaves_the_last_view(finished: RunDirectory) -> None:
    with closing(sqlite3.connect(finished.database, isolation_level=None)) as db:
        db.execute("PRAGMA journal_mode = DELETE")
        with watching(finished) as watch:
            before = until(watch.look, lambda view: view.tokens)
            db.execute("BEGIN EXCLUSIVE")
            db.execute("DELETE FROM run")
            view = watch.look()
            db.execute("ROLLBACK")
            assert view.jobs == before.jobs and view.facts == before.facts and not view.problem


# -- threads -----------------------------------------------------------------------------------------------------------


def test_looks_from_many_threads_are_one_after_the_other(finished: RunDirectory) -> None:
    with watching(finished) as watch, ThreadPoolExecutor(8) as pool:
        views = list(pool.map(lambda _: watch.look(), range(40)))
    assert {view.state for view in views} == {"complete"}


def test_a_look_after_the_end_is_the_last_one(finished: RunDirectory) -> None:
    engine = Scripted(None)
    watch = RunWatch(finished, engine)
    view = watch.look()
    watch.close()
    watch.close()
    assert watch.look() is view
    watch._thread.shutdown(wait=True)
    assert engine.closed
