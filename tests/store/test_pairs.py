"""Pairs of samples are those that a plain comparison of all rows finds, with the same counts."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lmrun.errors import StoreError
from lmrun.store.connect import connect
from lmrun.store.pairs import PairReader, Quadrant, Side, TaskPair
from lmrun.store.runs import RunDirectory
from lmrun.store.schema import MIGRATIONS

QUADRANTS: tuple[Quadrant, ...] = ("all", "both", "a", "b", "none")
SCORING = json.dumps(
    {"metrics": [{"name": "acc", "aggregation": "mean"}, {"name": "ppl", "aggregation": "perplexity"}]}
)


@dataclass(frozen=True)
class Doc:
    """A sample as a test states it."""

    doc: int = 0
    target: int = 0
    correct: bool | None = True
    status: str = "scored"
    prompt: int = 0
    chat: bool = False
    requests: int = 1


Tasks = Mapping[str, Mapping[int, Doc]]


def write(folder: Path, models: Mapping[str, Tasks], *, start: int = 0) -> RunDirectory:
    """A run with these samples; numbers of samples begin at ``start``, so that those of two runs differ."""
    run = RunDirectory(folder)
    db = connect(run.database, MIGRATIONS)
    sample, job = start, start
    for number, (model, tasks) in enumerate(models.items(), start=1):
        db.execute("INSERT INTO models (id, name, backend, model) VALUES (?, ?, 'scripted', ?)", (number, model, model))
        for label, docs in tasks.items():
            job += 1
            db.execute(
                """INSERT INTO jobs (id, model_id, label, task, alias, version, num_fewshot, output_type, setting,
                     config, scoring, task_hash, datasets, prompt_hash, n_docs_total, n_docs, status)
                   VALUES (?, ?, ?, ?, '', '1', 0, 'generate_until', '{}', '{}', ?, '', '{}', ?, ?, ?, 'scored')""",
                (job, number, label, label, SCORING, f"{sorted(docs.items())}", len(docs), len(docs)),
            )
            for doc_id, doc in docs.items():
                sample += 1
                write_sample(db, sample, job, doc_id, doc)
            right = [doc.correct for doc in docs.values() if doc.status == "scored"]
            metric = "INSERT INTO metrics VALUES (?, ?, ?, 'none', ?, '\"N/A\"', NULL, ?, ?)"
            db.execute(metric, (job, 0, "acc", json.dumps(sum(map(bool, right)) / max(1, len(right))), len(right), 1))
            db.execute(metric, (job, 1, "ppl", json.dumps(3.5), len(right), 0))
    db.close()
    return run


def write_sample(db: object, sample: int, job: int, doc_id: int, doc: Doc) -> None:
    """One sample with its requests and its score."""
    execute = db.execute  # type: ignore[attr-defined]
    execute(
        """INSERT INTO samples (id, job_id, doc_id, doc, target, text, choices, status, correct)
           VALUES (?, ?, ?, ?, ?, 'null', 'null', ?, ?)""",
        (sample, job, doc_id, json.dumps({"q": doc.doc}), json.dumps(doc.target), doc.status, doc.correct),
    )
    execute("INSERT OR IGNORE INTO texts (hash, body) VALUES (?, ?)", (b"%d" % doc.prompt, str(doc.prompt)))
    context = execute("SELECT id FROM texts WHERE hash = ?", (b"%d" % doc.prompt,)).fetchone()[0]
    for position in range(doc.requests):
        execute(
            "INSERT INTO requests VALUES (?, ?, 0, ?, 'generate_until', ?, ?, '', '{}', NULL)",
            (sample, position, f"{sample}-{position}", context, doc.chat),
        )
    if doc.status == "scored":
        value = json.dumps({"acc": float(bool(doc.correct)), "ppl": 1.0})
        execute("INSERT INTO scores VALUES (?, 'none', 'null', ?, NULL, NULL, ?)", (sample, value, doc.correct))


docs = st.builds(
    Doc,
    doc=st.integers(0, 1),
    target=st.integers(0, 1),
    correct=st.sampled_from([True, False, None]),
    status=st.sampled_from(["scored", "scored", "scored", "error", "pending", "skipped"]),
    prompt=st.integers(0, 1),
    chat=st.booleans(),
    requests=st.integers(1, 2),
)
tasks = st.dictionaries(st.sampled_from(["t", "t@num_fewshot=2", "ü"]), st.dictionaries(st.integers(0, 6), docs))


def quadrant_of(a: Doc, b: Doc) -> Quadrant | None:
    """Who was right; None where one of them is neither right nor wrong."""
    if a.status != "scored" or b.status != "scored" or a.correct is None or b.correct is None:
        return None
    names: dict[tuple[bool, bool], Quadrant] = {
        (True, True): "both",
        (True, False): "a",
        (False, True): "b",
        (False, False): "none",
    }
    return names[a.correct, b.correct]


def naive(a: Mapping[int, Doc], b: Mapping[int, Doc]) -> dict[str, int]:
    """The counts of a task that both sides have."""
    both_sides = [(a[i], b[i]) for i in a if i in b]
    common = [(x, y) for x, y in both_sides if (x.doc, x.target) == (y.doc, y.target)]
    asked = [((x.prompt, x.chat, x.requests), (y.prompt, y.chat, y.requests)) for x, y in common]
    found = [quadrant_of(x, y) for x, y in common]
    return {
        "docs_a": len(a),
        "docs_b": len(b),
        "common": len(common),
        "differing": len(both_sides) - len(common),
        "scored": sum(x.status == y.status == "scored" for x, y in common),
        "both": found.count("both"),
        "only_a": found.count("a"),
        "only_b": found.count("b"),
        "none": found.count("none"),
        "other_prompts": sum(x != y for x, y in asked),
    }


def counts(task: TaskPair) -> dict[str, int | None]:
    """The same of what was read."""
    names = "docs_a docs_b common differing scored both only_a only_b none other_prompts".split()
    return {name: getattr(task, name) for name in names}


@settings(max_examples=60, deadline=None)
@given(tasks, tasks)
def test_counts_and_pairs_are_those_of_a_plain_comparison(one: Tasks, two: Tasks) -> None:
    with tempfile.TemporaryDirectory() as folder:
        a = write(Path(folder) / "a", {"m": one})
        b = write(Path(folder) / "b", {"n": two}, start=1000)
        reader = PairReader(Side(a, "m"), Side(b, "n"))
        found = {task.label: task for task in reader.tasks()}
        assert list(found) == list(dict.fromkeys([*one, *two])) == reader.labels()
        for label, task in found.items():
            if label not in one or label not in two:
                lone = {**dict.fromkeys(counts(task), 0), "docs_a": None, "docs_b": None}
                lone.update({"docs_a": len(one[label])} if label in one else {"docs_b": len(two[label])})
                assert counts(task) == lone
                assert not list(reader.ids(label))
                continue
            assert counts(task) == naive(one[label], two[label])
            assert task.judged == task.both + task.only_a + task.only_b + task.none
            assert_ids(reader, label, one, two)
        reader.close()


def assert_ids(reader: PairReader, label: str, one: Tasks, two: Tasks) -> None:
    """Every quadrant lists the pairs that are in it, in the order of docs."""
    numbers = [numbers_of(side, start)[label] for side, start in ((one, 0), (two, 1000))]
    a, b = one[label], two[label]
    same = [i for i in sorted(a) if i in b and (a[i].doc, a[i].target) == (b[i].doc, b[i].target)]
    for quadrant in QUADRANTS:
        wanted = [i for i in same if quadrant in ("all", quadrant_of(a[i], b[i]))]
        pairs = [pair for ids in reader.ids(label, quadrant, chunk=2) for pair in zip(*ids, strict=True)]
        assert pairs == [(numbers[0][i], numbers[1][i]) for i in wanted]
    others = {numbers[0][i] for i in same if (a[i].prompt, a[i].chat, a[i].requests) != _asked(b[i])}
    assert reader.other_prompts([(numbers[0][i], numbers[1][i]) for i in same]) == others


def _asked(doc: Doc) -> tuple[int, bool, int]:
    return doc.prompt, doc.chat, doc.requests


def numbers_of(tasks: Tasks, start: int) -> dict[str, dict[int, int]]:
    """By task and doc the number that :func:`write` gives its sample."""
    count = iter(range(start + 1, start + 10_000))
    return {label: {doc_id: next(count) for doc_id in docs} for label, docs in tasks.items()}


def pair(tmp_path: Path, a: Mapping[int, Doc], b: Mapping[int, Doc]) -> TaskPair:
    """The only task of two runs."""
    one, two = write(tmp_path / "a", {"m": {"t": a}}), write(tmp_path / "b", {"m": {"t": b}}, start=50)
    reader = PairReader(Side(one, "m"), Side(two, "m"))
    found = next(reader.tasks())
    reader.close()
    return found


def test_two_models_of_one_run_are_two_sides(tmp_path: Path) -> None:
    run = write(tmp_path / "r", {"m": {"t": {0: Doc(), 1: Doc()}}, "n": {"t": {0: Doc(correct=False), 1: Doc()}}})
    reader = PairReader(Side(run, "m"), Side(run, "n"))
    (task,) = reader.tasks()
    assert (task.both, task.only_a, task.only_b, task.none) == (1, 1, 0, 0)
    assert [metric.metric for metric in task.metrics] == ["acc", "ppl"]
    reader.close()


def test_scores_of_all_docs_are_those_of_the_runs(tmp_path: Path) -> None:
    task = pair(tmp_path, {0: Doc(), 1: Doc(correct=False)}, {0: Doc(), 1: Doc()})
    assert [(m.a, m.b, m.paired) for m in task.metrics] == [(0.5, 1.0, True), (3.5, 3.5, True)]


def test_of_other_docs_a_mean_is_taken_over_the_common_ones(tmp_path: Path) -> None:
    task = pair(tmp_path, {0: Doc(), 1: Doc(correct=False), 2: Doc(doc=1)}, {0: Doc(), 1: Doc(), 2: Doc(correct=False)})
    acc, perplexity = task.metrics
    assert (acc.a, acc.b, acc.paired) == (0.5, 1.0, True)
    assert not perplexity.paired  # it is no mean, so nothing can be said of the common docs


def test_an_error_on_one_side_is_left_out_of_both_means(tmp_path: Path) -> None:
    task = pair(tmp_path, {0: Doc(correct=False), 1: Doc()}, {0: Doc(status="error", correct=None), 1: Doc()})
    assert (task.metrics[0].a, task.metrics[0].b) == (1.0, 1.0)
    assert (task.common, task.scored) == (2, 1)


def test_nothing_in_common_has_no_means(tmp_path: Path) -> None:
    task = pair(tmp_path, {0: Doc()}, {1: Doc()})
    assert task.common == 0
    assert not task.metrics[0].paired


def test_a_model_that_is_not_there(tmp_path: Path) -> None:
    run = write(tmp_path / "a", {"m": {}})
    with pytest.raises(StoreError, match="no model 'x'"):
        PairReader(Side(run, "m"), Side(run, "x"))


@pytest.fixture
def broken(tmp_path: Path) -> Iterator[RunDirectory]:
    """A run whose database is none."""
    run = RunDirectory(tmp_path / "broken")
    run.path.mkdir()
    run.database.write_bytes(b"no database at all" * 100)
    yield run


def test_a_run_that_cannot_be_read(tmp_path: Path, broken: RunDirectory) -> None:
    run = write(tmp_path / "a", {"m": {}})
    for sides in ((run, broken), (broken, run), (run, RunDirectory(tmp_path / "nowhere"))):
        with pytest.raises(StoreError, match="cannot be read"):
            PairReader(Side(sides[0], "m"), Side(sides[1], "m"))


def test_neither_database_can_be_written(tmp_path: Path) -> None:
    run = write(tmp_path / "a", {"m": {"t": {0: Doc()}}})
    before = run.database.read_bytes()
    reader = PairReader(Side(run, "m"), Side(run, "m"))
    list(reader.tasks())
    reader.close()
    assert run.database.read_bytes() == before
