"""Backends that work on the requests of all jobs at once."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from contextlib import closing

import pytest

from lmrun.backends.base import SUSPICIOUS_LOGPROBS, Chunk, Needs, StreamingBackend
from lmrun.backends.registry import backend_class
from lmrun.display.report import closing_words
from lmrun.engine.budget import Guard
from lmrun.engine.signals import catch_interrupts
from lmrun.errors import ExitCode
from lmrun.requests import Request, Response
from lmrun.store.cache import Cache
from lmrun.store.reader import RunReader, SampleQuery
from lmrun.store.writer import RunStore
from lmrun.testing.scripted import StreamingScriptedBackend
from tests.engine.conftest import World, complete

BOTH = '[[tasks]]\nname = ["colours", "speech"]\n'
MIXED = BOTH + '[[tasks]]\nname = "colours"\nlimit = 4\nnum_fewshot = 0\nsystem_instruction = ""\n'


def stream(world: World, name: str = "stub", **options: object) -> str:
    options = {"streaming": True, "in_flight": 7, "chunk": 3, **options}
    return world.stub(name, **options)


def test_answers_of_all_jobs_are_those_of_a_backend_that_takes_one_job_at_a_time(world: World) -> None:
    streamed = world.run(world.manifest(stream(world), tasks=BOTH))
    assert complete(streamed)
    asked = world.calls()
    assert len(asked) == len(set(asked)) == 40
    plain = world.run(world.manifest(world.stub(), tasks=BOTH), fresh=True, cache=False)
    assert world.scores(streamed) == world.scores(plain)


def test_a_full_cache_loads_nothing(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    first = world.run(world.manifest(stream(world), tasks=BOTH))
    monkeypatch.setattr(StreamingScriptedBackend, "load", lambda _: pytest.fail("the model was loaded"))
    second = world.run(world.manifest(stream(world), tasks=BOTH))
    assert complete(second) and world.scores(second) == world.scores(first)


def test_requests_that_jobs_share_are_asked_once_and_both_are_scored(world: World) -> None:
    tasks = '[[tasks]]\nname = "colours"\nlimit = 5\n[[tasks]]\nname = "colours"\nlimit = 10\n'
    outcome = world.run(world.manifest(stream(world), tasks=tasks))
    assert complete(outcome)
    assert len(world.calls()) == len(set(world.calls())) == 30
    reader = RunReader(outcome.directory)
    assert [(job.n_scored, job.requests) for job in reader.jobs()] == [(5, 15), (10, 15)]


def test_a_job_that_the_backend_refuses_does_not_stop_the_others(world: World) -> None:
    outcome = world.run(world.manifest(stream(world, refuse=["loglikelihood"]), tasks=BOTH))
    assert outcome.exit_code is ExitCode.BACKEND_FAILED
    assert {job for _, job, _ in world.scores(outcome)} == {"speech"}
    reader = RunReader(outcome.directory)
    assert [(job.label, job.status) for job in reader.jobs()] == [("colours", "failed"), ("speech", "scored")]
    assert reader.jobs()[0].error == {
        "kind": "BackendError",
        "message": "the script does not answer loglikelihood",
        "hint": "take the kind out of the option refuse",
    }
    assert len(world.calls()) == 10


def test_what_a_refused_job_shares_is_asked_for_the_other(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Needs] = []

    def check(_backend: StreamingBackend, needs: Needs) -> None:
        from lmrun.errors import BackendError

        seen.append(needs)
        if len(seen) == 1:
            raise BackendError("not this one")

    monkeypatch.setattr(StreamingScriptedBackend, "check", check)
    tasks = '[[tasks]]\nname = "colours"\nlimit = 5\n[[tasks]]\nname = "colours"\nlimit = 10\n'
    outcome = world.run(world.manifest(stream(world), tasks=tasks))
    assert [job.status for job in RunReader(outcome.directory).jobs()] == ["failed", "scored"]
    assert len(world.calls()) == 30


def test_needs_say_what_the_requests_of_a_job_ask(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Needs] = []
    monkeypatch.setattr(StreamingScriptedBackend, "check", lambda _, needs: seen.append(needs))
    task = world.folder / "tasks" / "speech.yaml"
    task.write_text(task.read_text() + 'gen_prefix: "I say"\n')
    tasks = (
        '[[tasks]]\nname = "colours"\n[[tasks]]\nname = "speech"\napply_chat_template = true\n'
        'generation = { do_sample = true, temperature = 1.0, until = ["a", "b", "c"] }\n'
    )
    assert complete(world.run(world.manifest(stream(world), tasks=tasks)))
    assert seen == [
        Needs(frozenset({"loglikelihood"}), longest=5),
        Needs(frozenset({"generate_until"}), messages=True, prefill=True, sampled=True, most_stops=3),
    ]


def test_a_server_that_dies_fails_the_model_and_leaves_complete_jobs_their_scores(world: World) -> None:
    models = [stream(world, name="a", die_after=36, salt="a"), world.stub("b")]
    outcome = world.run(world.manifest(*models, tasks=BOTH))
    assert outcome.exit_code is ExitCode.BACKEND_FAILED
    reader = RunReader(outcome.directory)
    assert {m["name"]: m["status"] for m in reader.models()} == {"a": "failed", "b": "done"}
    assert [(job.label, job.status) for job in reader.jobs() if job.model == "a"] == [
        ("colours", "scored"),
        ("speech", "looked_up"),
    ]
    reader.close()
    before = len(world.calls())
    again = world.run(world.manifest(stream(world, name="a", salt="a"), world.stub("b"), tasks=BOTH))
    assert again.directory != outcome.directory or complete(again)
    assert len(world.calls()) - before <= 10


def test_memory_holds_only_what_is_handed_out(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    from lmrun.engine import stream as engine
    from lmrun.store import queue, rows

    pages: list[int] = []
    most = 0
    whole = engine.ModelStream._next

    def follow(self: engine.ModelStream, chunks: Iterator[Chunk], guard: Guard) -> Chunk | None:
        nonlocal most
        most = max(most, len(self.open))
        return whole(self, chunks, guard)

    made = rows.request_of

    def count(*columns: object) -> Request:
        pages.append(1)
        return made(*columns)  # type: ignore[arg-type]

    monkeypatch.setattr(engine.ModelStream, "_next", follow)
    monkeypatch.setattr(queue, "request_of", count)
    docs = [{"question": f"colour {i}?", "answer": i % 3} for i in range(600)]
    (world.folder / "tasks" / "colours.jsonl").write_text("".join(json.dumps(doc) + "\n" for doc in docs))
    assert complete(world.run(world.manifest(stream(world), tasks=BOTH)))
    assert len(pages) == 1 + 4 * 600, "each request is made once, when it is handed out; the first is also priced"
    assert most <= 7


def test_each_chunk_is_durable_before_the_next_one_is_asked_for(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = StreamingScriptedBackend.stream
    counts: list[tuple[int, int, int]] = []

    def watch(backend: StreamingScriptedBackend, requests: Iterator[tuple[int, Request]]) -> Iterator[Chunk]:
        given = 0
        for chunk in whole(backend, requests):
            given += len(chunk)
            yield chunk
            (run,) = (world.folder / "runs").glob("*/run.db")
            counts.append((given, _rows(run), _rows(world.folder / "runs" / "cache.db")))

    monkeypatch.setattr(StreamingScriptedBackend, "stream", watch)
    assert complete(world.run(world.manifest(stream(world), tasks=BOTH)))
    assert len(counts) > 10
    assert all(given == kept == cached for given, kept, cached in counts)


def _rows(path: object) -> int:
    import sqlite3

    db = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
    try:
        return int(db.execute("SELECT count(*) FROM responses").fetchone()[0])
    finally:
        db.close()


def test_a_job_is_scored_while_others_are_still_asked(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    scored_at: list[int] = []
    whole = RunStore.finish_scoring

    def finish(store: RunStore, *args: object) -> None:
        scored_at.append(len(world.calls()))
        whole(store, *args)  # type: ignore[arg-type]

    monkeypatch.setattr(RunStore, "finish_scoring", finish)
    docs = [{"question": f"colour {i}?", "answer": i % 3} for i in range(100)]
    (world.folder / "tasks" / "colours.jsonl").write_text("".join(json.dumps(doc) + "\n" for doc in docs))
    assert complete(world.run(world.manifest(stream(world), tasks=BOTH)))
    assert scored_at[0] < 400 == scored_at[1]


@pytest.mark.parametrize("moment", ["while an answer is kept", "while the backend waits"])
def test_an_interrupt_drains_what_is_in_flight(world: World, monkeypatch: pytest.MonkeyPatch, moment: str) -> None:
    """A real signal, at the worst moment: within the transaction of an answer."""
    keep = RunStore.add_responses
    answers = StreamingScriptedBackend._answers
    count = 0

    def interrupt() -> None:
        nonlocal count
        count += 1
        if count == 4:
            os.kill(os.getpid(), signal.SIGINT)

    def add(store: RunStore, rows: object) -> None:
        if moment == "while an answer is kept":
            interrupt()
        keep(store, rows)  # type: ignore[arg-type]

    def wait(backend: StreamingScriptedBackend) -> Chunk:
        if moment == "while the backend waits":
            interrupt()
        return answers(backend)

    manifest = world.manifest(stream(world), tasks=BOTH)
    with monkeypatch.context() as patch, catch_interrupts():
        patch.setattr(RunStore, "add_responses", add)
        patch.setattr(StreamingScriptedBackend, "_answers", wait)
        first = world.run(manifest)
    assert first.exit_code is ExitCode.INTERRUPTED
    reader = RunReader(first.directory)
    in_flight = reader.info()["in_flight"]
    kept = sum(job.requests for job in reader.jobs())
    reader.close()
    assert in_flight.keys() == {"drained"}
    assert kept == len(world.calls()) == 12 + in_flight["drained"]
    second = world.run(manifest)
    assert complete(second) and second.directory == first.directory
    assert len(world.calls()) == len(set(world.calls())) == 40, "nothing is asked twice"


def test_a_second_interrupt_leaves_what_is_in_flight(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    keep = RunStore.add_responses
    count = 0

    def add(store: RunStore, rows: object) -> None:
        nonlocal count
        count += 1
        if count in (2, 3):
            os.kill(os.getpid(), signal.SIGTERM)
        keep(store, rows)  # type: ignore[arg-type]

    manifest = world.manifest(stream(world, in_flight=20), tasks=BOTH)
    with monkeypatch.context() as patch, catch_interrupts():
        patch.setattr(RunStore, "add_responses", add)
        first = world.run(manifest)
    assert first.exit_code is ExitCode.INTERRUPTED
    reader = RunReader(first.directory)
    assert reader.info()["in_flight"] == {"drained": 3, "abandoned": 14}
    reader.close()
    asked = len(world.calls())
    assert complete(world.run(manifest))
    assert len(world.calls()) == asked + 14 + 40 - asked


def test_where_one_score_cannot_be_true_the_others_of_its_sample_are_asked_again(world: World) -> None:
    broken = world.folder / "broken"
    broken.touch()
    doubt = {"fail": "A: blue", "fail_kind": SUSPICIOUS_LOGPROBS, "fail_while": str(broken)}
    manifest = world.manifest(stream(world, **doubt))
    first = world.run(manifest)
    reader = RunReader(first.directory)
    assert first.exit_code is ExitCode.INCOMPLETE and reader.errors() == {SUSPICIOUS_LOGPROBS: 10}
    reader.close()
    cache_file = world.folder / "runs" / "cache.db"
    assert cache_file.exists()
    with closing(Cache(cache_file)) as cache:
        assert not cache.stats()
    broken.unlink()
    asked = len(world.calls())
    assert complete(world.run(manifest))
    assert len(world.calls()) == 2 * asked == 60


def test_words_of_a_server_move_no_cursor(world: World) -> None:
    outcome = world.run(world.manifest(stream(world, load_error="wrong \x1b[31mkey\x07")))
    words = closing_words(RunReader(outcome.directory))
    assert "wrong ␛key␇" in words and "\x1b" not in words


def test_refused_answers_are_counted_and_listed(world: World) -> None:
    outcome = world.run(world.manifest(stream(world, decline="colour 3"), tasks='[[tasks]]\nname = "speech"\n'))
    assert complete(outcome)
    reader = RunReader(outcome.directory)
    (job,) = reader.jobs()
    assert (job.n_refused, job.n_scored) == (1, 10)
    assert [row.doc_id for row in reader.samples(SampleQuery(outcomes=("refused",)))] == [3]
    results = json.loads((outcome.directory.results / "stub.json").read_text())
    assert results["refused"] == {"speech": 1} and results["refused_rate"] == {"speech": 0.1}
    assert results["flags"] == {"speech": ["refused"]}


def test_a_cache_that_is_lost_costs_no_answer(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    import sqlite3

    def lose(*_args: object) -> None:
        raise sqlite3.OperationalError("disk I/O error")

    monkeypatch.setattr(Cache, "put", lose)
    assert complete(world.run(world.manifest(stream(world), tasks=BOTH)))


def test_the_factory_gives_the_kind_of_backend_that_the_options_name() -> None:
    from lmrun.backends.base import ModelSpec

    make = backend_class("scripted")
    assert isinstance(make(ModelSpec("m", "scripted", "m", {"streaming": True})), StreamingBackend)
    assert not isinstance(make(ModelSpec("m", "scripted", "m", {})), StreamingBackend)
    assert Response().error is None
