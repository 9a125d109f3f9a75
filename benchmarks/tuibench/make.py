"""A run of any size, written straight into the tables of the run store: as a finished run leaves it."""

from __future__ import annotations

import hashlib
import random
import sqlite3
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import orjson

from lmrun.store.connect import connect, transaction
from lmrun.store.records import JobRecord, MetricRecord
from lmrun.store.runs import RunDirectory, create_run
from lmrun.store.schema import MIGRATIONS
from lmrun.store.writer import RunStore

CREATED = 1_790_000_000.0
_CHOICES = ("a salt marsh", "the upper stratosphere", "a limestone cave", "the ocean floor")
_THINGS = "river stone lamp engine harbour mirror valley ladder copper garden letter bridge forest candle".split()
_PAGE = 5_000
"""Samples written at a time."""
_INSERTS = {
    "texts": "INSERT INTO texts VALUES (?, ?, ?)",
    "samples": """INSERT INTO samples (id, job_id, doc_id, doc, target, text, choices, status, correct, truncated,
                    no_match, error, refused) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)""",
    "requests": "INSERT INTO requests VALUES (?, ?, 0, ?, ?, ?, 0, ?, ?, NULL)",
    "responses": "INSERT INTO responses VALUES (?, ?, ?, ?, ?)",
    "scores": "INSERT INTO scores VALUES (?, ?, ?, ?, ?, ?, ?)",
}


@dataclass(frozen=True, slots=True)
class _Job:
    id: int
    is_choice: bool
    task: int
    docs: int
    first_sample: int
    first_text: int


@dataclass(slots=True)
class _Rows:
    """Rows of one page, by table."""

    tables: dict[str, list[tuple[Any, ...]]] = field(default_factory=lambda: {name: [] for name in _INSERTS})

    def add(self, table: str, *values: Any) -> None:
        self.tables[table].append(values)

    def write(self, db: sqlite3.Connection) -> None:
        with transaction(db):
            for name, rows in self.tables.items():
                db.executemany(_INSERTS[name], rows)
                rows.clear()


def make_run(runs_dir: Path, samples: int, jobs: int, *, models: int = 2, scored: bool = True) -> RunDirectory:
    """Write a run of ``samples`` samples in ``jobs`` jobs, half of them multiple choice, half generation.

    Of both some are wrong; of the generated answers some are cut off, refused, or without a match, and a few requests
    fail. ``scored=False`` leaves it as it is before the scoring: everything answered. The same call writes the same.
    """
    run = create_run(runs_dir, "made", datetime.fromtimestamp(CREATED))
    (run.path / "manifest.toml").write_text('name = "made"\n', encoding="utf-8")
    store = RunStore(run)
    made = _plan(store, samples, jobs, models)
    db = connect(run.database, MIGRATIONS)
    db.executescript("PRAGMA synchronous = OFF; PRAGMA cache_size = -300000; DROP INDEX requests_by_key")
    rows = _Rows()
    for job in made:
        # Another model is asked the same, and answers something else.
        questions, answers = random.Random(job.task), random.Random(1_000_003 + job.id)
        for doc_id in range(job.docs):
            _sample(rows, job, doc_id, (questions, answers), scored=scored)
            if doc_id % _PAGE == _PAGE - 1:
                rows.write(db)
        rows.write(db)
    db.execute("CREATE INDEX requests_by_key ON requests (key)")
    _measured(db, samples)
    db.close()
    _finish(store, made, scored=scored)
    store.close()
    return run


def _plan(store: RunStore, samples: int, jobs: int, models: int) -> list[_Job]:
    tasks = -(-jobs // models)
    store.set_info(name="made", created=CREATED, manifest_hash="0", plan_hash="0", pid=0, host="", status="running")
    made, first_sample = [], 1
    for job in range(jobs):
        model, task = divmod(job, tasks)
        name = ("qwen3-8b", "gpt-5-mini", "llama-4")[model % 3] + ("" if model < 3 else f"-{model}")
        model_id = store.add_model(name, "scripted", name, f"{model:032x}", {})
        docs = samples // jobs + (job < samples % jobs)
        is_choice = task % 2 == 0
        label = f"{'mmlu' if is_choice else 'sums'}_{task:03}"
        job_id, _ = store.add_job(model_id, _record(label, is_choice, docs))
        store.finish_rendering(job_id, f"{task:032x}")
        made.append(_Job(job_id, is_choice, task, docs, first_sample, 1 + task * (samples // jobs + 1)))
        first_sample += docs
    return made


def _record(label: str, is_choice: bool, docs: int) -> JobRecord:
    metric = "acc" if is_choice else "exact_match"
    config = {"task": label, "doc_to_text": "Question: {{question}}\nAnswer:", "metric_list": [{"metric": metric}]}
    return JobRecord(
        label=label,
        task=label,
        alias=label.replace("_", " "),
        version=1.0,
        num_fewshot=5,
        output_type="multiple_choice" if is_choice else "generate_until",
        setting={"name": label, "num_fewshot": 5, "seed": 1234},
        config=config,
        scoring={"metrics": [metric]},
        task_hash=hashlib.sha256(label.encode()).hexdigest(),
        datasets={"test": "0" * 16},
        n_docs_total=docs,
        n_docs=docs,
    )


def _json(value: Any) -> str:
    return orjson.dumps(value).decode()


def _sample(rows: _Rows, job: _Job, doc_id: int, dice: tuple[random.Random, random.Random], *, scored: bool) -> None:
    question, context = _question(dice[0], job, doc_id)
    text_id = job.first_text + doc_id
    if job.id == job.task + 1:  # the first model's
        rows.add("texts", text_id, hashlib.blake2b(context.encode(), digest_size=16).digest(), context)
    make = _choice if job.is_choice else _generation
    ids = (job.first_sample + doc_id, doc_id, text_id)
    make(rows, job, ids, question, dice[1], failed=dice[1].random() < 0.001, scored=scored)


def _question(dice: random.Random, job: _Job, doc_id: int) -> tuple[str, str]:
    names = dice.choices(_THINGS, k=12)
    question = f"Where would one find the {names[0]} of the {names[1]} that {names[2]} {doc_id} of {job.task} names?"
    shots = "\n\n".join(
        f"Question: Why does the {a} stand beside the old {b}, if the {a} came later than all others?\nAnswer: It was"
        f" carried there over the {b} in the year {1800 + len(a) * 7}, as the books of the town still tell."
        for a, b in zip(names[2:7], names[7:], strict=True)
    )
    return question, f"{shots}\n\nQuestion: {question}\nAnswer:"


def _key(number: int) -> str:
    return f"{number * 0x9E3779B97F4A7C15F39CC0605CEDC835 % (1 << 128):032x}"


def _status(failed: bool, scored: bool) -> tuple[str, str | None]:
    if not scored:
        return "pending", None
    return ("error", _json(_ERROR)) if failed else ("scored", None)


_ERROR = {"kind": "http_500", "message": "the server answered 500: internal error"}


def _choice(
    rows: _Rows,
    job: _Job,
    ids: tuple[int, int, int],
    question: str,
    dice: random.Random,
    *,
    failed: bool,
    scored: bool,
) -> None:
    sample_id, doc_id, text_id = ids
    gold = dice.randrange(4)
    logprobs = [round(-1 - 8 * dice.random() + 3 * (i == gold), 4) for i in range(4)]
    best = logprobs.index(max(logprobs))
    doc = _json({"question": question, "choices": _CHOICES, "answer": gold})
    status, error = _status(failed, scored)
    right = int(best == gold) if status == "scored" else None
    rows.add(
        "samples",
        sample_id,
        job.id,
        doc_id,
        doc,
        str(gold),
        "null",
        _json(_CHOICES),
        status,
        right,
        0,
        0,
        error,
        0,
    )
    for position, choice in enumerate(_CHOICES):
        key = _key(sample_id * 4 + position)
        rows.add("requests", sample_id, position, key, "loglikelihood", text_id, f" {choice}", "{}")
        greedy = str(position == best).lower()
        answer = f'{{"logprob":{logprobs[position]},"is_greedy":{greedy},"prompt_tokens":212,"completion_tokens":4}}'
        broken = failed and position == 2
        rows.add("responses", key, job.id, *_answered(answer, dice, failed=broken), CREATED + sample_id / 500)
    if right is not None:
        pairs = _json([[value, i == best] for i, value in enumerate(logprobs)])
        rows.add("scores", sample_id, "none", pairs, f'{{"acc": {float(right)}}}', None, None, right)


def _answered(answer: str, dice: random.Random, *, failed: bool) -> tuple[str, str]:
    if failed:
        return "error", _json({"error": _ERROR, "attempts": 5})
    return "cache" if dice.random() < 0.2 else "computed", answer


def _generation(
    rows: _Rows,
    job: _Job,
    ids: tuple[int, int, int],
    question: str,
    dice: random.Random,
    *,
    failed: bool,
    scored: bool,
) -> None:
    sample_id, doc_id, text_id = ids
    gold = doc_id % 97
    said = gold if dice.random() < 0.7 else gold + 1
    cut, refused, no_match = dice.random() < 0.02, dice.random() < 0.002, dice.random() < 0.03
    text = _output(dice, said, cut=cut, refused=refused, no_match=no_match)
    doc = _json({"question": question, "solution": f"It is {gold}."})
    status, error = _status(failed, scored)
    found = status == "scored" and not (cut or refused or no_match)
    right = None if status != "scored" else int(found and said == gold)
    flags = (int(cut), int(scored and not failed and not found)) if scored else (0, 0)
    values = (sample_id, job.id, doc_id, doc, _json(str(gold)), "null", "null", status, right, *flags, error)
    rows.add("samples", *values, int(refused and scored))
    key = _key(sample_id * 4)
    settings = '{"until": ["\\n\\n"], "do_sample": false, "max_gen_toks": 256}'
    rows.add("requests", sample_id, 0, key, "generate_until", text_id, "", settings)
    finish = "refusal" if refused else "length" if cut else "stop"
    answer = {"text": text, "finish_reason": finish, "prompt_tokens": 208, "completion_tokens": len(text) // 4}
    source, body = _answered(_json(answer), dice, failed=failed)
    rows.add("responses", key, job.id, source, body, CREATED + sample_id / 500)
    if status == "scored":
        extraction = "matched" if found else "no_match"
        span = _json([len(text) - len(str(said)) - 1, len(text) - 1]) if found else None
        filtered = _json([str(said) if found else "[invalid]"])
        score = f'{{"exact_match": {float(right or 0)}}}'
        rows.add("scores", sample_id, "strict-match", filtered, score, extraction, span, right)


def _output(dice: random.Random, said: int, *, cut: bool, refused: bool, no_match: bool) -> str:
    if refused:
        return "I cannot help with that."
    first, second = dice.choices(_THINGS, k=2)
    text = f" First count the {first}s, then take away each {second} that was counted twice, and add what is left of"
    if cut:
        return text
    return f"{text} the first. " + ("That is all I can say." if no_match else f"The answer is {said}.")


def _finish(store: RunStore, made: Sequence[_Job], *, scored: bool) -> None:
    for job in made:
        store.set_job(job.id, "answered")
        if scored:
            metric = "acc" if job.is_choice else "exact_match"
            value = 0.5 + job.task % 40 / 100
            record = MetricRecord(metric, "none", value, 0.01, (value - 0.02, value + 0.02), job.docs, True)
            store.finish_scoring(job.id, [record], {}, {"metrics": [metric]})
    if scored:
        store.set_info(status="complete", finished=CREATED + 3600)


def _measured(db: sqlite3.Connection, samples: int) -> None:
    """Events, and an hour of measurements."""
    with transaction(db):
        db.executemany("INSERT INTO gauges VALUES (?, ?, ?)", _gauges())
        lines = (("warning", "retry") if i % 50 == 49 else ("info", "answered") for i in range(min(samples, 2_000)))
        db.executemany(
            "INSERT INTO events (time, level, event, fields) VALUES (?, ?, ?, ?)",
            ((CREATED + i, level, event, f'{{"requests": {i}}}') for i, (level, event) in enumerate(lines)),
        )


def _gauges() -> Iterator[tuple[float, str, float]]:
    dice = random.Random(0)
    for second in range(0, 3_600, 5):
        for name, value in (("rss_bytes", 2e9), ("cpu_percent", 80.0), ("requests_per_second", 500.0)):
            yield CREATED + second, name, value * (0.9 + dice.random() / 5)
