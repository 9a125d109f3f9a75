"""Recorded counts of jobs are those that a count would give, whatever happens to a job."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.tuibench.make import make_run
from lmrun.store.connect import connect
from lmrun.store.reader import RunReader
from lmrun.store.records import SampleOutcome
from lmrun.store.runs import RunDirectory
from lmrun.store.schema import MIGRATIONS
from lmrun.store.writer import RunStore

ERROR = '{"error": {"kind": "http_500", "message": "broken"}, "prompt_tokens": 5}'


@pytest.fixture
def run(tmp_path: Path) -> RunDirectory:
    return make_run(tmp_path, 300, 3, models=1)


def recorded(run: RunDirectory) -> set[int]:
    """Jobs whose counts are recorded."""
    db = connect(run.database, MIGRATIONS)
    found = {row[0] for row in db.execute("SELECT job_id FROM job_counts")}
    db.close()
    return found


def check(run: RunDirectory) -> None:
    """What is read is the same without the records."""
    seen = RunReader(run)
    with_records = (seen.jobs(), seen.tokens())
    seen.close()
    db = connect(run.database, MIGRATIONS)
    db.execute("CREATE TEMP TABLE kept AS SELECT * FROM job_counts")
    db.execute("DELETE FROM job_counts")
    counted = RunReader(run)
    assert (counted.jobs(), counted.tokens()) == with_records
    counted.close()
    db.execute("INSERT INTO job_counts SELECT * FROM kept")
    db.close()


def test_counts_are_recorded_at_scoring(run: RunDirectory) -> None:
    assert recorded(run) == {1, 2, 3}
    check(run)
    (job, *_) = RunReader(run).jobs()
    assert (job.n_scored + job.n_errors, job.requests) == (100, 400)
    assert 0 < job.cache_hits < 400


def test_an_outcome_that_changes_is_counted(run: RunDirectory) -> None:
    store = RunStore(run)
    store.write_outcomes(2, [SampleOutcome(101, (), skipped=True), SampleOutcome(102, (), truncated=True)])
    assert recorded(run) == {1, 3}
    assert RunReader(run).jobs()[1].n_skipped == 1
    check(run)
    store.finish_scoring(2, [], {}, {})
    assert recorded(run) == {1, 2, 3}
    check(run)


def test_an_error_that_is_asked_again_is_no_answer_of_the_job_that_asked_it_first(run: RunDirectory) -> None:
    store = RunStore(run)
    db = connect(run.database, MIGRATIONS)
    (key,) = db.execute("SELECT key FROM requests WHERE sample_id = 1 AND position = 0").fetchone()
    db.execute("UPDATE requests SET key = ? WHERE sample_id = 201 AND position = 0", (key,))
    store.add_responses([(key, 1, "error", ERROR)])
    assert recorded(run) == {2, 3}
    store.finish_scoring(1, [], {}, {})
    check(run)
    assert store.reopen_errors(3)
    assert recorded(run) == {2}
    assert RunReader(run).jobs()[0].requests == 399
    check(run)


def test_a_doubted_hit_is_no_hit(run: RunDirectory) -> None:
    store = RunStore(run)
    db = connect(run.database, MIGRATIONS)
    keys = [row[0] for row in db.execute("SELECT key FROM requests WHERE sample_id = 1 ORDER BY position")]
    db.execute("UPDATE responses SET source = 'cache' WHERE key = ?", (keys[1],))
    db.execute("UPDATE responses SET source = 'error', response = ? WHERE key = ?", (ERROR, keys[0]))
    store.finish_scoring(1, [], {}, {})
    hits = store.counts(1).cache_hits
    assert keys[1] in store.doubt([keys[0]], "http_500")
    assert store.counts(1).cache_hits < hits
    check(run)


def test_answers_of_the_cache_are_counted(run: RunDirectory) -> None:
    store = RunStore(run)
    store.add_hits(1, [("new", '{"text": "a"}')])
    assert store.counts(1).requests == 401
    check(run)
