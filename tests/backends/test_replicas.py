"""Several processes answer what one would, with the same numbers; and what becomes of a run when one of them dies."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import psutil
import pytest

from lmrun.backends.base import ModelSpec
from lmrun.backends.hf import HfBackend, hf_backend
from lmrun.backends.hf.options import HfOptions
from lmrun.backends.hf.replica import Replica
from lmrun.backends.hf.replicas import Replicas, _Job, replica_devices
from lmrun.errors import BackendError
from lmrun.requests import Message, Request, Response
from tests.backends.conftest import Load
from tests.backends.test_generating import prompts
from tests.backends.test_scoring import answers, pairs, parts, texts

torch = pytest.importorskip("torch")
Folders = Callable[..., Path]
SMALL = {"device": "cpu", "batch_tokens": 128}
PATIENCE = 60.0
"""Seconds within which a process has to be gone; it takes a moment."""


def spec(folder: Path, **options: Any) -> ModelSpec:
    return ModelSpec("m", "hf", str(folder), {**SMALL, **options})


@pytest.fixture(scope="module")
def two(folders: Folders) -> Iterator[Replicas]:
    made = hf_backend(spec(folders("llama"), replicas=2))
    assert isinstance(made, Replicas)
    made.load()
    yield made
    made.close()


def processes(backend: Replicas) -> list[int]:
    return [pid for replica in backend._replicas if (pid := replica._process.pid)]


def assert_alike(found: dict[int, Response], known: dict[int, Response]) -> None:
    """The same answers, but for what rounding may change where prefixes are shared."""
    assert {i: replace(a, logprob=None) for i, a in found.items()} == {
        i: replace(a, logprob=None) for i, a in known.items()
    }
    for i, answer in found.items():
        assert answer.logprob == (None if known[i].logprob is None else pytest.approx(known[i].logprob, abs=1e-4))


@pytest.mark.parametrize("requests", [pairs(), texts(), prompts(16)], ids=["pairs", "rolling", "generation"])
def test_answers_are_those_of_one_process(load: Load, two: Replicas, requests: list[Request]) -> None:
    whole = answers(load(**SMALL), requests)
    # As they come from the queue of a run.
    requests = [replace(request, generation=MappingProxyType(request.generation)) for request in requests]
    assert_alike(answers(two, requests), whole)
    some = frozenset(range(0, len(requests), 3))
    assert_alike(answers(two, requests, some), {i: answer for i, answer in whole.items() if i not in some})


def test_one_identity_and_one_set_of_facts(load: Load, two: Replicas, folders: Folders) -> None:
    assert two.identify() == HfBackend(spec(folders("llama"))).identify()
    facts = two.usage().facts
    assert facts["replicas"] == 2
    assert facts["parameters"] == load(**SMALL).usage().facts["parameters"]
    assert two.counter()(pairs(1)[0]) == parts(load(**SMALL))[1].count(pairs(1)[0])


def test_both_take_part(two: Replicas, monkeypatch: pytest.MonkeyPatch) -> None:
    granted: dict[int, int] = {}
    grant = _Job.grant

    def counting(job: _Job, replica: Replica, owners: frozenset[int]) -> frozenset[int]:
        found = grant(job, replica, owners)
        granted[id(replica)] = granted.get(id(replica), 0) + len(found)
        return found

    monkeypatch.setattr(_Job, "grant", counting)
    n = len(pairs())
    answers(two, pairs())
    assert sum(granted.values()) == n
    assert len(granted) == 2


def test_a_job_that_is_given_up_is_left(load: Load, two: Replicas) -> None:
    abandoned = iter(two.run(pairs()))
    next(abandoned)
    del abandoned
    requests = prompts(6)
    assert answers(two, requests) == answers(load(**SMALL), requests)


def test_what_no_model_can_answer_is_refused(load: Load, two: Replicas) -> None:
    chats = [Request("generate_until", (Message("user", "the cat"),))]
    with pytest.raises(BackendError, match="no chat template"):
        answers(two, chats)
    assert_alike(answers(two, pairs(2)), answers(load(**SMALL), pairs(2)))


def test_an_interrupt_is_for_the_parent_to_heed(two: Replicas) -> None:
    running = iter(two.run(pairs()))
    next(running)
    # As a terminal sends it to the whole group: the replicas go on until they are told.
    for pid in processes(two):
        os.kill(pid, signal.SIGINT)
    assert len({i for chunk in running for i, _ in chunk}) > len(pairs()) / 2


def kill_while_it_works(backend: Replicas, victim: Any, requests: list[Request]) -> dict[int, Response]:
    """Answers to ``requests``, while ``victim`` is killed with its first batch in hand."""
    found: dict[int, Response] = {}
    give_out = backend._give_out
    struck = False

    def strike(replica: Any, claim: Any, job: Any) -> None:
        nonlocal struck
        if replica is victim and not struck and claim.owners - job.taken.keys():
            struck = True
            # Before it hears that the batch is its own: so nothing of it can have been answered.
            os.kill(replica._process.pid, signal.SIGKILL)
        give_out(replica, claim, job)

    backend._give_out = strike  # type: ignore[method-assign]
    try:
        for chunk in backend.run(requests):
            found.update(chunk)
    finally:
        backend._give_out = give_out  # type: ignore[method-assign]
    assert struck
    return found


def test_a_replica_that_dies_is_started_again_once_and_then_costs_its_batch(load: Load, two: Replicas) -> None:
    requests = pairs()
    whole = answers(load(**SMALL), requests)
    victim, other = two._replicas
    children = [psutil.Process(pid) for pid in processes(two)]
    assert_alike(kill_while_it_works(two, victim, requests), whole)
    assert victim.restarted
    children += [psutil.Process(pid) for pid in processes(two)]
    # It took part again, and dies again.
    found = kill_while_it_works(two, victim, requests)
    lost = {i for i, answer in found.items() if answer.error}
    assert_alike(*({i: a for i, a in each.items() if i not in lost} for each in (found, whole)))
    assert 0 < len(lost) < len(requests) / 2
    assert {error.kind for i in lost if (error := found[i].error)} == {"replica_died"}
    assert two._replicas == [other]
    other.restarted = True
    with pytest.raises(BackendError, match="all replicas"):
        kill_while_it_works(two, other, requests)
    two.close()
    two.close()
    assert not any(child.is_running() for child in children)


def test_no_replica_outlives_a_parent_that_is_killed(folders: Folders) -> None:
    script = (
        "import sys, time\n"
        "from lmrun.backends.base import ModelSpec\n"
        "from lmrun.backends.hf.replica import Replica\n"
        "if __name__ == '__main__':\n"
        "    replica = Replica(ModelSpec('m', 'hf', sys.argv[1], {'device': 'cpu'}), 1)\n"
        "    print(replica._process.pid, flush=True)\n"
        "    time.sleep(600)\n"
    )
    parent = subprocess.Popen([sys.executable, "-c", script, str(folders())], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    with parent.stdout as out:
        child = int(out.readline())
    parent.kill()
    parent.wait()
    end = time.monotonic() + PATIENCE
    while psutil.pid_exists(child) and psutil.Process(child).status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < end, "the replica still runs"
        time.sleep(0.05)


def test_a_model_that_cannot_be_loaded_is_said_once(folders: Folders, tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    broken.mkdir()
    for path in folders("llama").iterdir():
        (broken / path.name).write_bytes(path.read_bytes())
    (broken / "model.safetensors").write_bytes(b"not weights")
    backend = hf_backend(spec(broken, replicas="auto"))
    with pytest.raises(BackendError, match="could not be loaded"):
        backend.load()
    backend.close()


def test_devices(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 3)
    assert replica_devices(HfOptions(replicas="auto")) == ["cuda:0", "cuda:1", "cuda:2"]
    assert replica_devices(HfOptions(replicas=2)) == ["cuda:0", "cuda:1"]
    assert replica_devices(HfOptions(replicas="auto", device="cpu")) == ["cpu"]
    with pytest.raises(BackendError, match="there are 3 CUDA devices"):
        replica_devices(HfOptions(replicas=4))


@pytest.mark.parametrize(
    "options",
    [{"replicas": 0}, {"replicas": True}, {"replicas": 2, "device": "cuda:1"}, {"replicas": 2, "device": "mps"}],
)
def test_what_cannot_be_meant(options: dict[str, Any]) -> None:
    with pytest.raises(BackendError, match="replica"):
        hf_backend(ModelSpec("m", "hf", "nowhere", options))
    with pytest.raises(BackendError, match="exclude each other"):
        hf_backend(ModelSpec("m", "hf", "nowhere", {"replicas": 2, "device_map": "auto"}))
