"""Two sides of a comparison, each one model of one run: which of their samples are of the same doc, and who was right.

Both databases are read by one connection. Samples belong together where their task's label, their doc's number, the
doc itself and its target are the same; the prompts may differ, and are counted where they do.
"""

from __future__ import annotations

import json
import sqlite3
from array import array
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from lmrun.errors import StoreError
from lmrun.store.connect import attach_readonly, connect_readonly
from lmrun.store.records import MetricRecord
from lmrun.store.rows import metric_from_row
from lmrun.store.runs import RunDirectory
from lmrun.store.schema import MIGRATIONS, OLDEST_READ

Quadrant = Literal["all", "both", "a", "b", "none"]
"""All comparable samples; or those that both sides, only A, only B, or neither side got right."""


@dataclass(frozen=True, slots=True)
class Side:
    """One model of one run."""

    run: RunDirectory
    model: str


class IdPairs(NamedTuple):
    """Samples of both sides by number; those at the same place belong together."""

    a: array[int]
    b: array[int]


@dataclass(frozen=True, slots=True)
class MetricPair:
    """A metric that both sides have."""

    metric: str
    filter: str
    higher_is_better: bool | None
    a: Any
    b: Any
    paired: bool
    """Both values are of the same docs, so that their difference means something."""


@dataclass(frozen=True, slots=True)
class TaskPair:
    """A task of either side."""

    label: str
    docs_a: int | None
    """None: A does not have the task."""
    docs_b: int | None
    metrics: Sequence[MetricPair] = ()
    common: int = 0
    """Samples of the same doc with the same target."""
    differing: int = 0
    """Samples of the same number whose docs or targets are not the same: not comparable."""
    scored: int = 0
    """Of the common ones: scored on both sides."""
    both: int = 0
    only_a: int = 0
    only_b: int = 0
    none: int = 0
    other_prompts: int = 0
    """Of the common ones: asked with another prompt."""

    @property
    def judged(self) -> int:
        """Common samples that are right or wrong on both sides."""
        return self.both + self.only_a + self.only_b + self.none


_SAME = "(a.doc = b.doc AND a.target = b.target)"
_SCORED = "(a.status = 'scored' AND b.status = 'scored')"
_QUADRANTS: dict[Quadrant, str] = {
    "all": "1",
    "both": f"({_SCORED} AND a.correct = 1 AND b.correct = 1)",
    "a": f"({_SCORED} AND a.correct = 1 AND b.correct = 0)",
    "b": f"({_SCORED} AND a.correct = 0 AND b.correct = 1)",
    "none": f"({_SCORED} AND a.correct = 0 AND b.correct = 0)",
}
_PAIRS = """main.samples a JOIN other.samples b ON b.job_id = :job_b AND b.doc_id = a.doc_id
            WHERE a.job_id = :job_a"""
# The first answer to each request of a doc is enough: repeats are asked the same.
_OTHER_PROMPT = """(
    (SELECT count(*) FROM main.requests r WHERE r.sample_id = a.id AND r.repeat = 0)
      <> (SELECT count(*) FROM other.requests r WHERE r.sample_id = b.id AND r.repeat = 0)
    OR EXISTS (
      SELECT 1 FROM main.requests x LEFT JOIN main.texts xt ON xt.id = x.context_id
      LEFT JOIN other.requests y ON y.sample_id = b.id AND y.position = x.position AND y.repeat = 0
      LEFT JOIN other.texts yt ON yt.id = y.context_id
      WHERE x.sample_id = a.id AND x.repeat = 0
        AND (y.key IS NULL OR x.is_chat <> y.is_chat OR x.continuation <> y.continuation OR xt.hash IS NOT yt.hash)))"""


class PairReader:
    """Two sides, open for reading. Bound to the thread that made it."""

    def __init__(self, a: Side, b: Side) -> None:
        """Raises StoreError where a run cannot be read, or has no such model."""
        self._db = connect_readonly(a.run.database, MIGRATIONS, OLDEST_READ)
        try:
            attach_readonly(self._db, b.run.database, "other", MIGRATIONS, OLDEST_READ)
            self._jobs = _jobs(self._db, "main", a), _jobs(self._db, "other", b)
        except BaseException:
            self._db.close()
            raise

    def close(self) -> None:
        """Close both files."""
        self._db.close()

    def labels(self) -> list[str]:
        """Tasks of A in the order of its plan, then those that only B has."""
        return list(dict.fromkeys([*self._jobs[0], *self._jobs[1]]))

    def tasks(self) -> Iterator[TaskPair]:
        """Every task of either side, one by one: counting takes a while where there are very many samples."""
        for label in self.labels():
            yield self._task(label)

    def ids(self, label: str, quadrant: Quadrant = "all", chunk: int = 4096) -> Iterator[IdPairs]:
        """Samples of a task that can be compared, in the order of docs, a chunk at a time."""
        a, b = (jobs.get(label) for jobs in self._jobs)
        if a is None or b is None:
            return
        rows = self._db.execute(
            f"SELECT a.id, b.id FROM {_PAIRS} AND {_QUADRANTS[quadrant]} AND {_SAME} ORDER BY a.doc_id",
            {"job_a": a["id"], "job_b": b["id"]},
        )
        while found := rows.fetchmany(chunk):
            yield IdPairs(array("q", (row[0] for row in found)), array("q", (row[1] for row in found)))

    def other_prompts(self, pairs: Sequence[tuple[int, int]]) -> set[int]:
        """Of these pairs of samples, those that were asked with different prompts, by their number on side A."""
        statement = f"SELECT {_OTHER_PROMPT} FROM main.samples a, other.samples b WHERE a.id = ? AND b.id = ?"
        return {pair[0] for pair in pairs if self._db.execute(statement, pair).fetchone()[0]}

    def _task(self, label: str) -> TaskPair:
        a, b = (jobs.get(label) for jobs in self._jobs)
        docs_a, docs_b = _docs(self._db, "main", a), _docs(self._db, "other", b)
        if a is None or b is None:
            return TaskPair(label, docs_a, docs_b)
        values = {"job_a": a["id"], "job_b": b["id"]}
        quadrants = ", ".join(f"sum({_SAME} AND {_QUADRANTS[name]})" for name in ("both", "a", "b", "none"))
        both_sides, common, scored, both, only_a, only_b, none = (
            int(count or 0)
            for count in self._db.execute(
                f"SELECT count(*), sum({_SAME}), sum({_SAME} AND {_SCORED}), {quadrants} FROM {_PAIRS}", values
            ).fetchone()
        )
        same_prompts = a["prompt_hash"] is not None and a["prompt_hash"] == b["prompt_hash"]
        return TaskPair(
            label,
            docs_a,
            docs_b,
            self._metrics(a, b, whole=scored == docs_a == docs_b),
            common,
            both_sides - common,
            scored,
            both,
            only_a,
            only_b,
            none,
            0 if same_prompts else self._count_other_prompts(values),
        )

    def _count_other_prompts(self, values: Mapping[str, int]) -> int:
        statement = f"SELECT count(*) FROM {_PAIRS} AND {_SAME} AND {_OTHER_PROMPT}"
        return int(self._db.execute(statement, values).fetchone()[0])

    def _metrics(self, a: sqlite3.Row, b: sqlite3.Row, *, whole: bool) -> list[MetricPair]:
        """``whole``: all docs of both sides are pairs, so that what the runs say holds for the pairs."""
        theirs = {(m.metric, m.filter): m for m in _metric_records(self._db, "other", b["id"])}
        means = _means_of(json.loads(a["scoring"]))
        found = []
        for mine in _metric_records(self._db, "main", a["id"]):
            if (other := theirs.get((mine.metric, mine.filter))) is None:
                continue
            values = None if whole or mine.metric not in means else self._means(a, b, mine)
            one, two = values or (mine.value, other.value)
            paired = whole or values is not None
            found.append(MetricPair(mine.metric, mine.filter, mine.higher_is_better, one, two, paired))
        return found

    def _means(self, a: sqlite3.Row, b: sqlite3.Row, metric: MetricRecord) -> tuple[float, float] | None:
        """A metric that is a mean, of the docs that both sides have scored."""
        statement = f"""
                SELECT avg(json_extract(sa.metrics, :path)), avg(json_extract(sb.metrics, :path))
                FROM main.samples a JOIN other.samples b ON b.job_id = :job_b AND b.doc_id = a.doc_id
                JOIN main.scores sa ON sa.sample_id = a.id AND sa.filter = :filter
                JOIN other.scores sb ON sb.sample_id = b.id AND sb.filter = :filter
                WHERE a.job_id = :job_a AND {_SAME} AND {_SCORED}"""
        values = {"path": f'$."{metric.metric}"', "filter": metric.filter, "job_a": a["id"], "job_b": b["id"]}
        try:
            row = self._db.execute(statement, values).fetchone()
        except sqlite3.OperationalError:  # a value that is no JSON number, such as an infinity
            return None
        return None if row[0] is None or row[1] is None else (row[0], row[1])


def _jobs(db: sqlite3.Connection, schema: str, side: Side) -> dict[str, sqlite3.Row]:
    if db.execute(f"SELECT 1 FROM {schema}.models WHERE name = ?", (side.model,)).fetchone() is None:
        raise StoreError(f"{side.run.id}: has no model {side.model!r}", hint="choose one of its models")
    rows = db.execute(
        f"""SELECT j.id, j.label, j.prompt_hash, j.scoring FROM {schema}.jobs j
            JOIN {schema}.models m ON m.id = j.model_id WHERE m.name = ? ORDER BY j.id""",
        (side.model,),
    )
    return {row["label"]: row for row in rows}


def _means_of(scoring: Mapping[str, Any]) -> set[str]:
    """Metrics of a job that are the mean of their docs."""
    metrics = [metric for metric in scoring.get("metrics", ()) if isinstance(metric, dict)]
    return {metric["name"] for metric in metrics if metric.get("aggregation") == "mean"}


def _docs(db: sqlite3.Connection, schema: str, job: sqlite3.Row | None) -> int | None:
    if job is None:
        return None
    return int(db.execute(f"SELECT count(*) FROM {schema}.samples WHERE job_id = ?", (job["id"],)).fetchone()[0])


def _metric_records(db: sqlite3.Connection, schema: str, job_id: int) -> list[MetricRecord]:
    rows = db.execute(f"SELECT * FROM {schema}.metrics WHERE job_id = ? ORDER BY position", (job_id,))
    return list(map(metric_from_row, rows))
