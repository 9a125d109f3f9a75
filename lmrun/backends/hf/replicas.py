"""Several copies of one model on the devices of one machine, which share the batches that one of them would form."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field, replace
from multiprocessing.connection import wait
from typing import Any

from lmrun.backends.base import Backend, Chunk, ModelIdentity, ModelSpec, Usage
from lmrun.backends.hf.backend import HfBackend
from lmrun.backends.hf.options import HfOptions
from lmrun.backends.hf.replica import STOP, Claim, Dead, Done, Loaded, Message, Refused, Replica, Work
from lmrun.errors import BackendError
from lmrun.requests import Request, Response, ResponseError

_log = logging.getLogger(__name__)


def hf_backend(spec: ModelSpec) -> Backend:
    """The ``hf`` backend for a model: in this process, or as replicas in processes of their own."""
    return HfBackend(spec) if HfOptions.of(spec).replicas == 1 else Replicas(spec)


@dataclass(slots=True)
class _Job:
    """What is known of the job that is being answered."""

    requests: Sequence[Request]
    done: set[int]
    taken: dict[int, Replica] = field(default_factory=dict)
    """Which replica answers which request."""

    def grant(self, replica: Replica, owners: frozenset[int]) -> frozenset[int]:
        """Those of ``owners`` that are free, or its own already."""
        return frozenset(i for i in owners - self.done if self.taken.setdefault(i, replica) is replica)

    def lost(self, replica: Replica) -> list[int]:
        """What a replica that died has left unanswered; free again."""
        found = [i for i, owner in self.taken.items() if owner is replica and i not in self.done]
        for i in found:
            del self.taken[i]
        return found

    def work(self) -> Work:
        """The job as a replica gets it. What is done keeps its place in the batches."""
        return Work(self.requests, frozenset(self.done))


class Replicas:
    """A model in several processes, each with a device of its own.

    Every replica gets all requests and forms the same batches; it asks before it answers one, and no request is given
    out twice. So numbers do not depend on how many replicas there are, and none of them is idle while another has
    batches left.
    """

    def __init__(self, spec: ModelSpec) -> None:
        self._spec = spec
        self._options = HfOptions.of(spec)
        self._single = HfBackend(spec)
        self._replicas: list[Replica] = []
        self._usage = Usage()

    def identify(self) -> ModelIdentity:
        """Say who the model is from its files: one model, however many replicas it has."""
        return self._single.identify()

    def counter(self) -> Callable[[Request], int]:
        """Counts prompt tokens with the tokenizer. Raises :class:`~lmrun.errors.BackendError`."""
        return self._single.counter()

    def usage(self) -> Usage:
        """What is being computed, and the facts of the loaded model."""
        return self._usage

    # -- processes -----------------------------------------------------------------------------------------------------

    def load(self) -> None:
        """Start the replicas, and wait until each has loaded its model. Raises :class:`~lmrun.errors.BackendError`."""
        if self._replicas:
            return
        devices = replica_devices(self._options)
        try:
            self._replicas = [Replica(self._on(device), len(devices)) for device in devices]
            found = [_loaded(replica.receive()) for replica in self._replicas]
            _check_alike([usage.facts for usage in found])
        except BaseException:
            self.close()
            raise
        for replica in self._replicas:
            replica.busy = False
        facts = {**found[0].facts, "replicas": len(devices)}
        self._usage = Usage(phase="loaded", device=", ".join(dict.fromkeys(devices)), facts=facts)

    def _on(self, device: str) -> ModelSpec:
        return replace(self._spec, options={**self._spec.options, "device": device, "replicas": 1})

    def close(self) -> None:
        """End the processes."""
        for replica in self._replicas:
            replica.end()
        self._replicas = []

    # -- answering -----------------------------------------------------------------------------------------------------

    def run(self, requests: Sequence[Request], answered: Collection[int] = frozenset()) -> Iterator[Chunk]:
        """Answer requests of one kind; chunks come as the replicas finish them.

        Raises:
            BackendError: the model is not loaded, cannot answer such requests, or all its replicas have died.
        """
        if not self._replicas:
            raise BackendError(f'model "{self._spec.name}" is not loaded', hint="call load() first")
        self._settle()
        # A job shares one mapping among its requests, which is read only and cannot be sent to another process.
        job = _Job([replace(r, generation=dict(r.generation)) for r in requests], set(answered))
        for replica in self._replicas:
            replica.send(job.work())
            replica.busy = True
        return self._answers(job)

    def _answers(self, job: _Job) -> Iterator[Chunk]:
        while busy := [replica for replica in self._replicas if replica.busy]:
            for replica in _talking(busy):
                chunk = self._heed(replica, replica.receive(), job)
                job.done.update(i for i, _ in chunk)
                if chunk:
                    yield chunk

    def _heed(self, replica: Replica, message: Message, job: _Job) -> Chunk:
        """Do what a message asks for; returns the answers that it holds."""
        match message:
            case Claim():
                self._give_out(replica, message, job)
            case Loaded():
                replica.send(job.work())
            case Done():
                replica.busy = False
            case Refused() if not replica.restarted:
                raise BackendError(message.message, hint=message.hint)
            case Refused() | Dead():
                return self._died(replica, message.why if isinstance(message, Dead) else message.message, job)
            case _:
                return message
        return []

    def _give_out(self, replica: Replica, claim: Claim, job: _Job) -> None:
        granted = job.grant(replica, claim.owners)
        if granted:
            # Each does a part: what is left of that says nothing of the whole.
            self._usage = replace(claim.usage, rest=None, facts=self._usage.facts, device=self._usage.device)
        replica.send(granted)

    def _died(self, replica: Replica, why: str, job: _Job) -> Chunk:
        """Start a replica once more, to do its batch again; or let it be, with its batch as errors."""
        _log.warning("replica died", extra={"fields": {"device": replica.spec.options["device"], "why": why}})
        replica.end()
        lost = job.lost(replica)
        if not replica.restarted:
            replica.restarted = True
            replica.start()
            return []
        self._replicas.remove(replica)
        if not self._replicas:
            raise BackendError(
                f'all replicas of model "{self._spec.name}" have died, the last one so: {why}',
                hint="replicas = 1 shows the fault as it is; a SIGKILL is a machine without memory, most likely",
            )
        error = ResponseError("replica_died", f"the process that answered this died twice: {why}")
        return [(i, Response(error=error)) for i in lost]

    def _settle(self) -> None:
        """Let replicas leave a job that was given up, so that they listen again."""
        while busy := [replica for replica in self._replicas if replica.busy]:
            for replica in _talking(busy):
                message = replica.receive()
                if isinstance(message, Claim):
                    replica.send(STOP)
                elif isinstance(message, Done | Loaded):
                    replica.busy = False
                elif isinstance(message, Dead):
                    self._died(replica, message.why, _Job((), set()))


def replica_devices(options: HfOptions) -> list[str]:
    """The device of every replica. Raises :class:`~lmrun.errors.BackendError` where there are not enough."""
    from lmrun.backends.hf.loading import resolve_device

    kind = resolve_device(options.device)
    if kind == "cuda":
        import torch

        found: int = torch.cuda.device_count()
        count = found if options.replicas == "auto" else options.replicas
        if count > found:
            raise BackendError(
                f"{count} replicas were asked for, and there are {found} CUDA devices",
                hint=f'replicas = {found}, or "auto" for one per device',
            )
        return [f"cuda:{i}" for i in range(count)]
    count = 1 if options.replicas == "auto" else options.replicas
    if kind == "mps" and count > 1:
        raise BackendError("there is one mps device, and every replica needs its own", hint="leave replicas out")
    return [kind] * count


def _loaded(message: Message) -> Usage:
    match message:
        case Loaded():
            return message.usage
        case Refused():
            raise BackendError(message.message, hint=message.hint)
    why = message.why if isinstance(message, Dead) else "it said something else than that it is ready"
    raise BackendError(f"a replica died while it loaded the model: {why}", hint="replicas = 1 shows the fault as it is")


def _check_alike(facts: Sequence[Any]) -> None:
    tokens = sorted({each["batch_tokens"] for each in facts})
    if len(tokens) > 1:
        raise BackendError(
            f"the devices differ in memory, and would form batches of {' and '.join(map(str, tokens))} tokens",
            hint=f"batch_tokens = {tokens[0]}",
        )


def _talking(replicas: Sequence[Replica]) -> Iterator[Replica]:
    """Those that have something to say; waits for the first."""
    ready = wait([replica.connection for replica in replicas])
    return (replica for replica in replicas if replica.connection in ready)
