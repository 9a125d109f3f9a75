"""Runs are steered while they go on, and come out as if they had not been."""

from __future__ import annotations

import pytest

from lmrun.errors import ExitCode
from tests.engine.conftest import World
from tests.engine.control.conftest import Live, until

BOTH = '[[tasks]]\nname = "colours"\n[[tasks]]\nname = "speech"\n'
KINDS = pytest.mark.parametrize("options", [{}, {"streaming": True, "in_flight": 4}], ids=["batches", "streaming"])


def slow(world: World, **options: object) -> str:
    return world.stub(**({"chunk": 1, "latency_ms": 30.0} | options))


@KINDS
def test_a_pause_holds_everything_and_changes_nothing(live: Live, options: dict[str, object]) -> None:
    world = live.world
    manifest = world.manifest(slow(world, **options), tasks=BOTH)
    plain = world.scores(world.run(manifest, cache=False))
    calls = len(world.calls())
    going = live.start(manifest, cache=False, fresh=True)
    client = live.client()
    until(lambda: len(world.calls()) > calls + 2)
    assert client.send("pause").ok
    paused = until(lambda: (s := client.snapshot()) and s.paused and not any(m.in_flight for m in s.models) and s)
    asked = len(world.calls())
    later = until(lambda: (s := client.snapshot()) and s)
    assert (later.elapsed, later.eta) == (paused.elapsed, paused.eta)
    assert len(world.calls()) == asked == calls + paused.done
    assert client.send("resume").ok
    outcome = going.result(60)
    assert outcome.exit_code is ExitCode.COMPLETE and world.scores(outcome) == plain
    assert len(world.calls()) == 2 * calls
    assert not live.world.folder.joinpath("runs", outcome.directory.id, "control.sock").exists()


@KINDS
@pytest.mark.parametrize("paused", [False, True])
def test_a_run_can_be_stopped_and_resumed(live: Live, options: dict[str, object], paused: bool) -> None:
    world = live.world
    manifest = world.manifest(slow(world, **options), tasks=BOTH)
    going = live.start(manifest, cache=False)
    client = live.client()
    until(lambda: len(world.calls()) > 2)
    if paused:
        assert client.send("pause").ok
        until(lambda: (s := client.snapshot()) and s.paused)
    assert client.send("stop").ok
    assert going.result(60).exit_code is ExitCode.INTERRUPTED
    asked = len(world.calls())
    assert asked < 40
    assert world.run(manifest, cache=False).exit_code is ExitCode.COMPLETE
    assert len(world.calls()) == 40
