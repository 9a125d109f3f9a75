"""A run that goes on in a thread while the test watches and steers it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import pytest

from lmrun.engine.control.client import ControlClient
from lmrun.engine.run import Outcome
from lmrun.store.runs import RunDirectory, all_runs
from tests.engine.conftest import World

T = TypeVar("T")
PATIENCE = 60.0


def until(look: Callable[[], T | None]) -> T:
    """What ``look`` finds, as soon as it does."""
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        if found := look():
            return found
        time.sleep(0.005)
    raise AssertionError("it did not come to that")


@dataclass
class Live:
    """One run at a time, with its client."""

    world: World
    pool: ThreadPoolExecutor
    clients: list[ControlClient] = field(default_factory=list)

    def start(self, manifest: Path, **options: Any) -> Future[Outcome]:
        """Run a manifest in a thread."""
        return self.pool.submit(self.world.run, manifest, **options)

    @property
    def run(self) -> RunDirectory:
        """The newest run, once it has a socket."""
        return until(lambda: next((run for run in all_runs(self.world.folder / "runs") if run.control.exists()), None))

    def client(self) -> ControlClient:
        """A client of it."""
        client = ControlClient(self.run)
        self.clients.append(client)
        return client


@pytest.fixture
def live(world: World) -> Iterator[Live]:
    """A world in which runs go on in the background."""
    with ThreadPoolExecutor(1) as pool:
        live = Live(world, pool)
        yield live
        for client in live.clients:
            client.send("resume")
            client.close()
