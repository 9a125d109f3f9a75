"""What a backend is: it says who its model is, loads it, and answers requests."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol, TypeAlias, runtime_checkable

from lmrun.requests import Request, RequestKind, Response

SUSPICIOUS_LOGPROBS = "suspicious_logprobs"
"""Kind of an error that says that none of the answers to its sample can be true: the others are asked again too."""


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """One model of a manifest, as a backend receives it: validated, with no list-valued axes left."""

    name: str
    """Unique label in results."""
    backend: str
    model: str
    """Hub id, local path (absolute), or served name."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """Everything else that the manifest says of this model (``dtype``, ``device``, ``batch_tokens`` …)."""
    offline: bool = False
    """No socket may be opened."""
    state: Path | None = None
    """Folder for what the backend has to find again after a restart of this run; None: there is no run."""


@dataclass(frozen=True, slots=True)
class ModelIdentity:
    """Who answers: everything that can change an answer, found without loading the model."""

    fingerprint: str
    """Hash over ``facts``; part of every cache key."""
    facts: Mapping[str, Any]
    """What went into the fingerprint, by name (``weights``, ``revision``, ``dtype`` …); kept in the lock."""


@dataclass(frozen=True, slots=True)
class Usage:
    """What a backend can say about itself while it works; every field may be unknown."""

    phase: str = ""
    """For example ``"batch 12/340, 4,096 tokens"``."""
    rest: float | None = None
    """Seconds until what it was last given is done, as it judges now, where the number of answers would mislead: what
    many requests begin with is computed first, and answers that are written together end together."""
    device: str | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)
    """Facts known only once the model is loaded (parameters, device name, effective batch size)."""
    in_flight: int | None = None
    limit: int | None = None
    """Requests that may be in flight at once, or the batch size."""
    held_by: str = ""
    """What keeps it from more, e.g. ``429``."""
    retries: int = 0


@dataclass(frozen=True, slots=True)
class Needs:
    """What requests of a job ask of a backend; found from the requests, before the first is sent."""

    kinds: frozenset[RequestKind]
    messages: bool = False
    """Some prompts are messages of a chat."""
    prefill: bool = False
    """Some chats end with the beginning of the answer."""
    sampled: bool = False
    """Some answers are drawn, not greedy."""
    most_stops: int = 0
    """Stop strings of one request, at most."""
    phrases: bool = False
    """Some continuations that are scored have several words, and so more than one token."""
    longest: int = 0
    """Characters of the longest continuation that is scored, without the white space around it."""


@dataclass(frozen=True, slots=True)
class Capability:
    """One line of what a backend can do, as found out."""

    name: str
    state: Literal["yes", "no", "unknown"]
    found: str
    """How it was found, or what came instead."""
    advice: str = ""


@runtime_checkable
class Counting(Protocol):
    """A backend that can count the prompt tokens of a request before it is asked, and without loading its model."""

    def counter(self) -> Callable[[Request], int] | None:
        """What counts them, a continuation that is scored included; None where no tokenizer is at hand.

        It raises :class:`~lmrun.backends.tokenize.Unanswerable` for a request that cannot be asked.

        Raises:
            BackendError: the tokenizer cannot be loaded.
        """
        ...


Chunk: TypeAlias = Sequence[tuple[int, Response]]
"""Answers that finished together, each with the position of its request. A chunk is made durable in one transaction."""


class Backend(Protocol):
    """A model behind one way of asking it.

    Built as ``Backend(spec)`` (cheap: no heavy import), asked for its identity, then loaded only if some request is not
    in the cache. ``run`` owns batching or concurrency; cache, durability and progress sit above it, once for all.
    """

    def identify(self) -> ModelIdentity:
        """Say who the model is without loading it. Raises :class:`~lmrun.errors.BackendError`."""
        ...

    def load(self) -> None:
        """Get ready to answer. Raises :class:`~lmrun.errors.BackendError`."""
        ...

    def run(self, requests: Sequence[Request], answered: Collection[int] = frozenset()) -> Iterator[Chunk]:
        """Answer ``requests`` of one kind, in any order, as the answers finish.

        Positions in ``answered`` have their answer already and are not asked again, but they keep their place when
        batches are formed: so a resumed run forms the same batches as an uninterrupted one, and its numbers are equal
        to the last bit. A request that fails gives a response with an error; it never raises.
        """
        ...

    def usage(self) -> Usage:
        """What the backend is doing now; called from another thread."""
        ...

    def close(self) -> None:
        """Free the model and its memory. Safe to call twice, and before ``load``."""
        ...


@runtime_checkable
class Steerable(Protocol):
    """A streaming backend that can be slowed down, sped up and held back while it works; called from its own thread."""

    @property
    def steerable(self) -> bool:
        """Whether it can, the way it works now."""
        ...

    def hold(self, held: bool) -> None:
        """Send nothing more, and finish what is in flight; or go on. Chunks come all the same, if empty ones."""
        ...

    def scale(self, factor: float) -> str:
        """Work on so many times as many requests at once, at least one; says in words how many that are."""
        ...

    def drop(self, positions: Collection[int]) -> Collection[int]:
        """Forget those of these requests that are not on their way yet; says which. They get no answer."""
        ...


@runtime_checkable
class Foresighted(Protocol):
    """A backend that can make requests ready while it works on others."""

    def foresee(self, requests: Iterator[Request]) -> None:
        """These are likely to be asked after those that were just given to ``run``; read in the engine's thread."""
        ...


@runtime_checkable
class StreamingBackend(Backend, Protocol):
    """A backend that works on many requests at once, of all kinds and jobs of its model, and never needs them all.

    The engine calls :meth:`check` for every job before it sends the first request, then :meth:`stream` once.
    """

    def check(self, needs: Needs) -> None:
        """Find out, by asking the server, whether it can answer such requests; what was found is remembered.

        Raises:
            BackendError: it cannot, with the alternatives as a hint. The job is refused, others go on.
            ModelError: it can be asked nothing at all. All jobs of the model fail.
        """
        ...

    def capabilities(self) -> Sequence[Capability]:
        """Everything that can be found out about the server, as ``lmrun doctor MANIFEST`` shows it."""
        ...

    def stream(self, requests: Iterator[tuple[int, Request]]) -> Iterator[Chunk]:
        """Answer requests, each with its position, as they finish.

        ``requests`` is read in the calling thread, a bounded number ahead of the answers. An empty chunk comes at
        least once per second while nothing finishes. After the first KeyboardInterrupt no request is sent any more,
        what is in flight is waited for (a second one ends that), its answers are yielded, and KeyboardInterrupt is
        raised; the facts of :meth:`usage` then say how many were ``drained`` and ``abandoned``. The engine throws it
        into the generator at a ``yield``, where no answer can be lost. A request that fails gives a response with an
        error.

        Raises:
            BackendError: the server refuses this model altogether (401, 403, 404), or answers nothing any more.
        """
        ...
