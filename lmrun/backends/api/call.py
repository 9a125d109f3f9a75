"""What passes between a wire, which knows a provider's protocol, and the pump, which knows how to send."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from lmrun.backends.base import Capability, Needs
from lmrun.requests import Request, Response

if TYPE_CHECKING:
    from lmrun.backends.api.dialect import Dialect


class Asked(NamedTuple):
    """A request with its position in the stream."""

    position: int
    request: Request


@dataclass(frozen=True, slots=True)
class Call:
    """One HTTP request: what is sent, which requests it helps to answer, and how its reply is read."""

    path: str
    """Below ``base_url``, for example ``/completions``."""
    body: Mapping[str, Any]
    """By the protocol, before the server's dialect."""
    owners: tuple[int, ...]
    """Position of the request behind each answer of the reply."""
    read: Callable[[Mapping[str, Any]], Sequence[Response]]
    """One response per owner. Raises :class:`Malformed` for a reply that is not what the protocol says."""
    prompt_tokens: int
    """Counted, or estimated as bytes / 4."""
    new_tokens: int
    """The most that can be generated."""
    parts: tuple[int, ...] = ()
    """For each owner, into how many calls its request was cut (windows of a long text); absent: one."""
    joinable: str | None = None
    """Calls with the same text here can be sent as one HTTP request (see :meth:`Wire.join`)."""
    members: tuple[Call, ...] = ()
    """The calls that were joined into this one, to be sent alone where the whole is refused."""
    notes: Mapping[str, Any] = field(default_factory=dict)
    """Put into every response."""


class Ready(NamedTuple):
    """An answer that needs no call: an empty text, or a request among others that cannot be asked."""

    position: int
    response: Response


class Malformed(Exception):  # noqa: N818 - the state of a reply, not a fault of the program
    """A reply that does not hold what the protocol promises; it is asked again."""


class Post(Protocol):
    """Sends one body to the server and gives back the reply, with retries, the dialect and the time-outs applied."""

    dialect: Dialect
    """What is known of the server, and what it has taught."""

    async def get(self, path: str) -> Any:
        """A page of the server as JSON or text, asked once. Raises :class:`~lmrun.backends.api.failures.Failed`."""
        ...

    async def __call__(self, path: str, body: Mapping[str, Any]) -> Mapping[str, Any]:
        """The reply as JSON. Raises :class:`~lmrun.backends.api.failures.Failed`."""
        ...


class Wire(Protocol):
    """The protocol of a provider. Built as ``Wire(spec, options)``; opens nothing until it is asked to."""

    base_url: str
    """The provider's own, where the manifest names none."""
    key_env: str
    """Where the provider's key usually is."""

    def headers(self, key: str | None) -> Mapping[str, str]:
        """Headers of every HTTP request, the key among them."""
        ...

    def facts(self) -> Mapping[str, Any]:
        """What can change an answer beyond model, address and options, such as the files of a tokenizer."""
        ...

    async def check(self, needs: Needs, post: Post) -> None:
        """Find out whether the server can answer this; see :meth:`~lmrun.backends.base.StreamingBackend.check`."""
        ...

    async def capabilities(self, post: Post) -> Sequence[Capability]:
        """All that can be found out."""
        ...

    def calls(self, asked: Sequence[Asked]) -> Iterator[Call | Ready]:
        """Calls for requests that follow each other and share kind and context (the choices of a doc).

        Raises:
            Unanswerable: none of them can be asked; raised before the first call is given.
        """
        ...

    def join(self, calls: Sequence[Call]) -> Call:
        """One call in place of several with the same ``joinable``."""
        ...

    def counter(self) -> Callable[[Request], int] | None:
        """Counts the prompt tokens of a request, where a tokenizer is at hand."""
        ...
