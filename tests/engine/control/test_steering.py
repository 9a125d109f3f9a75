"""Runs are steered while they go on, and come out as if they had not been."""

from __future__ import annotations

import json

import pytest

from lmrun.engine.progress import Snapshot
from lmrun.errors import ExitCode
from lmrun.store.reader import RunReader
from lmrun.store.runs import RunDirectory
from lmrun.testing.script import Script
from lmrun.testing.server import ScriptedServer
from tests.engine.control.conftest import Live, snapshot, until

BOTH = '[[tasks]]\nname = "colours"\n[[tasks]]\nname = "speech"\n'
SPEECH = '[[tasks]]\nname = "speech"\n'
KINDS = pytest.mark.parametrize("options", [{}, {"streaming": True, "in_flight": 4}], ids=["batches", "streaming"])


def rests(now: Snapshot) -> bool:
    return now.paused and not any(model.in_flight for model in now.models)


def logged(run: RunDirectory, event: str) -> list[dict[str, object]]:
    return [line for line in map(json.loads, run.log.read_text().splitlines()) if line["event"] == event]


@KINDS
def test_a_pause_holds_everything_and_changes_nothing(live: Live, options: dict[str, object]) -> None:
    world = live.world
    manifest = world.manifest(live.slow(**options), tasks=BOTH)
    plain = world.scores(world.run(manifest, cache=False))
    calls = len(world.calls())
    going = live.start(manifest, cache=False, fresh=True)
    client = live.client()
    until(lambda: len(world.calls()) > calls + 2)
    assert client.send("pause").ok and client.send("pause").words == "paused already"
    # What a backend hands over last is no more in flight, and not yet counted.
    paused = snapshot(client, lambda now: rests(now) and len(world.calls()) == calls + now.done)
    asked = len(world.calls())
    later = snapshot(client, rests)
    assert (later.elapsed, later.eta, later.rate) == (paused.elapsed, paused.eta, paused.rate)
    assert len(world.calls()) == asked
    assert client.send("resume").ok
    outcome = going.result(60)
    assert outcome.exit_code is ExitCode.COMPLETE and world.scores(outcome) == plain
    assert len(world.calls()) == 2 * calls
    assert not outcome.directory.control.exists()
    assert [line["do"] for line in logged(outcome.directory, "command")] == ["pause", "pause", "resume"]


@KINDS
@pytest.mark.parametrize("paused", [False, True])
def test_a_run_can_be_stopped_and_resumed(live: Live, options: dict[str, object], paused: bool) -> None:
    world = live.world
    manifest = world.manifest(live.slow(**options), tasks=BOTH)
    going = live.start(manifest, cache=False)
    client = live.client()
    until(lambda: len(world.calls()) > 2)
    if paused:
        assert client.send("pause").ok
        snapshot(client, lambda now: now.paused)
    assert client.send("stop").ok
    assert going.result(60).exit_code is ExitCode.INTERRUPTED
    asked = len(world.calls())
    assert asked < 40
    assert world.run(manifest, cache=False).exit_code is ExitCode.COMPLETE
    assert len(world.calls()) == 40


@KINDS
def test_a_job_can_be_left_out_and_taken_up_again(live: Live, options: dict[str, object]) -> None:
    world = live.world
    live.docs(30)
    tasks = '[[tasks]]\nname = "colours"\n[[tasks]]\nname = "colours"\nlimit = 5\n[[tasks]]\nname = "speech"\n'
    manifest = world.manifest(live.slow(**options), tasks=tasks)
    plain = world.scores(world.run(manifest, cache=False))
    calls = len(world.calls())
    going = live.start(manifest, cache=False, fresh=True)
    client = live.client()
    first, second, third = (job.label for job in snapshot(client, lambda now: now.jobs).jobs)
    assert not client.send("skip_job", model="stub", label="nothing").ok
    until(lambda: len(world.calls()) > calls + 1)
    assert client.send("skip_job", model="stub", label=first).ok
    outcome = going.result(60)
    assert outcome.exit_code is ExitCode.INCOMPLETE
    reader = RunReader(outcome.directory)
    states = {job.label: (job.status, job.n_errors) for job in reader.jobs()}
    errors = [job.error for job in reader.jobs() if job.error]
    reader.close()
    assert states == {first: ("failed", 0), second: ("scored", 0), third: ("scored", 0)}
    assert errors[0] and errors[0]["kind"] == "LeftOut" and "lmrun retry" in str(errors[0]["hint"])
    scores = world.scores(outcome)
    assert {key: value for key, value in plain.items() if key[1] != first} == scores
    asked = len(world.calls()) - calls
    assert asked < calls
    again = world.run(manifest, cache=False)
    assert again.directory == outcome.directory and again.exit_code is ExitCode.COMPLETE
    assert world.scores(again) == plain
    assert len(world.calls()) == 2 * calls, "nothing is asked twice, and nothing is forgotten"


@KINDS
def test_errors_are_asked_again_in_the_same_run(live: Live, options: dict[str, object]) -> None:
    world = live.world
    broken = world.folder / "broken"
    broken.touch()
    faults = {"fail": "colour 3", "fail_while": str(broken), **options}
    manifest = world.manifest(live.slow(**faults), tasks=BOTH)
    going = live.start(manifest, cache=False)
    client = live.client()
    snapshot(client, lambda now: sum(job.errors for job in now.jobs))
    client.send("pause")
    snapshot(client, rests)
    broken.unlink()
    assert client.send("retry_errors").ok
    client.send("resume")
    outcome = going.result(60)
    assert outcome.exit_code is ExitCode.COMPLETE
    reader = RunReader(outcome.directory)
    assert all((job.status, job.n_errors) == ("scored", 0) for job in reader.jobs())
    reader.close()
    assert 40 < len(world.calls()) <= 44


@KINDS
def test_more_and_fewer_at_once(live: Live, options: dict[str, object]) -> None:
    going = live.start(live.world.manifest(live.slow(**options), tasks=BOTH), cache=False)
    client = live.client()
    snapshot(client, lambda now: now.phase == "answering" and now.done)
    replies = [client.send(name) for name in ("slower", "slower", "slower", "slower", "slower", "faster", "quicker")]
    if options:
        assert [reply.words.split()[-3] for reply in replies[:-1]] == ["3", "2", "2", "2", "2", "2"]
        now = snapshot(client)
        assert now.models[0].steerable and now.models[0].limit == 2
    else:
        assert not any(reply.ok for reply in replies)
        assert "cannot be changed now" in replies[0].words
    assert "did you mean" in replies[-1].words or "known" in replies[-1].words
    assert going.result(60).exit_code is ExitCode.COMPLETE


def api(live: Live, server: ScriptedServer, start: int) -> str:
    return (
        f'name = "api"\nbackend = "openai-completions"\nmodel = "tiny"\nbase_url = "{server.base_url}"\n'
        f"concurrency = {{ start = {start}, max = {start} }}"
    )


def test_a_server_is_asked_nothing_while_paused(live: Live) -> None:
    live.docs(60)
    with ScriptedServer(Script(latency=0.05)) as server:
        manifest = live.world.manifest(api(live, server, 4), tasks=SPEECH)
        plain = live.world.scores(live.world.run(manifest, cache=False))
        requests = server.counters.requests
        server.reset()
        going = live.start(manifest, cache=False, fresh=True)
        client = live.client()
        until(lambda: server.counters.requests > 10)
        assert client.send("pause").ok
        paused = snapshot(client, rests)
        assert server.counters.in_flight == 0
        asked = server.counters.requests
        assert client.send("pause").ok and snapshot(client).elapsed == paused.elapsed
        assert server.counters.requests == asked < requests
        assert client.send("resume").ok
        outcome = going.result(60)
        assert outcome.exit_code is ExitCode.COMPLETE and live.world.scores(outcome) == plain
        assert server.counters.requests == requests


@pytest.mark.parametrize("paused", [False, True])
def test_a_run_against_a_server_can_be_stopped(live: Live, paused: bool) -> None:
    live.docs(60)
    with ScriptedServer(Script(latency=0.05)) as server:
        manifest = live.world.manifest(api(live, server, 4), tasks=SPEECH)
        going = live.start(manifest, cache=False)
        client = live.client()
        until(lambda: server.counters.requests > 10)
        if paused:
            assert client.send("pause").ok
            snapshot(client, rests)
        assert client.send("stop").ok
        assert going.result(60).exit_code is ExitCode.INTERRUPTED
        asked = server.counters.requests
        assert live.world.run(manifest, cache=False).exit_code is ExitCode.COMPLETE
        assert asked < 60 and server.counters.statuses["200"] >= 60


def test_a_server_gets_more_and_fewer_requests_at_once(live: Live) -> None:
    live.docs(400)
    with ScriptedServer(Script(latency=0.05)) as server:
        going = live.start(live.world.manifest(api(live, server, 8), tasks=SPEECH), cache=False)
        client = live.client()
        until(lambda: server.counters.peak >= 8)
        words = [client.send("slower").words for _ in range(3)]
        assert words == [f"api: up to {n} requests in flight" for n in (6, 4, 3)]
        until(lambda: server.counters.in_flight <= 3)
        server.reset()
        until(lambda: server.counters.requests > 20)
        assert server.counters.peak < 6, "3, and some whose answer the server has just sent"
        now = snapshot(client)
        model = now.models[0]
        assert model.in_flight is not None and model.in_flight <= 3
        assert (model.limit, model.steerable, model.state) == (3, True, "answering")
        assert model.requests_per_second and model.tokens_per_second
        assert now.jobs[0].eta and now.jobs[0].tokens_per_second
        words = [client.send("faster").words for _ in range(6)]
        assert words[-1] == "api: up to 15 requests in flight"
        until(lambda: server.counters.peak > 8)
        client.send("stop")
        assert going.result(60).exit_code is ExitCode.INTERRUPTED


def test_what_waits_for_a_server_is_not_sent_for_a_job_that_is_left_out(live: Live) -> None:
    live.docs(150)
    tasks = '[[tasks]]\nname = "speech"\n[[tasks]]\nname = "speech"\nlimit = 20\n[run]\nbudget_tokens = 1000000\n'
    with ScriptedServer(Script(latency=0.1)) as server:
        model = api(live, server, 2).replace("max = 2", "max = 64").replace("start = 2", "start = 1")
        manifest = live.world.manifest(model + "\nrequests_per_minute = 1200", tasks=tasks)
        going = live.start(manifest, cache=False)
        client = live.client()
        now = snapshot(client, lambda now: now.done > 2)
        assert client.send("skip_job", model="api", label=now.jobs[0].label).ok
        outcome = going.result(60)
        assert outcome.exit_code is ExitCode.INCOMPLETE
        reader = RunReader(outcome.directory)
        assert [(job.status, job.n_errors) for job in reader.jobs()] == [("failed", 0), ("scored", 0)]
        reader.close()
        assert server.counters.statuses["200"] < 80
        assert live.world.run(manifest, cache=False).exit_code is ExitCode.COMPLETE
        assert 150 <= server.counters.statuses["200"] <= 155
