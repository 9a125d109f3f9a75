"""A model behind an HTTP API, whatever its protocol: the parts put together."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Collection, Coroutine, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any, TypeVar

from lmrun.backends.api.call import Asked, Call, Wire
from lmrun.backends.api.curl import command, variable
from lmrun.backends.api.dialect import Dialect
from lmrun.backends.api.failures import Failed
from lmrun.backends.api.gate import Gate
from lmrun.backends.api.hints import explained, served_models
from lmrun.backends.api.limits import Limits
from lmrun.backends.api.loop import LoopThread
from lmrun.backends.api.options import ApiOptions
from lmrun.backends.api.pump import Gone, Pump
from lmrun.backends.api.sender import Poster, Sender
from lmrun.backends.api.transport import Address, Transport, is_local
from lmrun.backends.api.usage import usage
from lmrun.backends.base import Capability, Chunk, ModelIdentity, ModelSpec, Needs, Usage
from lmrun.backends.fingerprint import identity
from lmrun.backends.tokenize import Unanswerable
from lmrun.errors import BackendError, ModelError
from lmrun.requests import Request

if TYPE_CHECKING:
    from lmrun.backends.api.batch.pump import BatchPump

T = TypeVar("T")
_ANSWERING = (
    "extra_body query max_length reasoning tokenizer prompts add_bos_token chat_template too_long scoring dialect"
).split()
"""Options that can change an answer, beside headers. Those that say how a model is asked are not among them."""
_WHO = frozenset("authorization proxy-authorization x-api-key api-key cookie".split())
"""Headers that say who asks, and not what."""
_SHORTEST_SECRET = 6


class ApiBackend:
    """Answers through HTTP; built by the functions of :mod:`lmrun.backends.api`."""

    def __init__(self, spec: ModelSpec, wire_class: Callable[[ModelSpec, ApiOptions], Wire]) -> None:
        self._spec = spec
        self._options = ApiOptions.of(spec)
        self._wire = wire_class(spec, self._options)
        self._base_url = (self._options.base_url or self._wire.base_url).rstrip("/")
        self._thread: LoopThread | None = None
        self._transport: Transport | None = None
        self._poster: Poster | None = None
        self._sender: Sender | None = None
        self._pump: Pump | BatchPump | None = None
        self._address: Address

    # -- who it is -----------------------------------------------------------------------------------------------------

    def identify(self) -> ModelIdentity:
        """Say who the model is: protocol, address, name, and the options that can change an answer."""
        facts: dict[str, Any] = {"backend": self._spec.backend, "base_url": self._base_url, "model": self._spec.model}
        default = ApiOptions()
        for name in _ANSWERING:
            value = getattr(self._options, name)
            if value != getattr(default, name):
                facts[name] = _plain(value)
        headers = {name.lower(): value for name, value in self._options.headers.items() if name.lower() not in _WHO}
        if headers:
            facts["headers"] = _plain(headers)
        return identity({**facts, **self._wire.facts()})

    # -- getting ready -------------------------------------------------------------------------------------------------

    def load(self) -> None:
        """Find the key and get ready to send; nothing is sent yet. Raises :class:`~lmrun.errors.BackendError`."""
        if self._sender:
            return
        if self._spec.offline and not is_local(self._base_url):
            raise BackendError(
                f'model "{self._spec.name}": {self._base_url} may not be asked offline',
                hint="take away --offline (or offline = true of [data]), or leave this model out",
            )
        self._address = Address(self._base_url, self._headers(), self._options.query, self._secrets())
        dialect = Dialect.of(self._base_url, self._spec.model, self._spec.backend, self._options.dialect)
        self._thread = LoopThread(f"lmrun {self._spec.name}")
        self._sender = self._thread.run(self._open(dialect))

    async def _open(self, dialect: Dialect) -> Sender:
        self._transport = Transport(self._address, self._options.timeout)
        gate = Gate(Limits(self._options), asyncio.get_running_loop())
        sender = Sender(self._transport, gate, dialect, self._options)
        self._poster = Poster(sender, self._transport)
        return sender

    @property
    def _key_name(self) -> str | None:
        return self._options.api_key_env or (self._wire.key_env if self._is_provider else None)

    @cached_property
    def _key(self) -> str | None:
        name = self._key_name
        key = os.environ.get(name, "").strip() if name else None
        if name and not key:
            raise BackendError(
                f'model "{self._spec.name}": the environment variable {name} is not set; it holds the key',
                hint=f"export {name}=…, or name another variable as api_key_env",
            )
        return key

    @property
    def _is_provider(self) -> bool:
        return self._base_url == self._wire.base_url.rstrip("/")

    def _headers(self) -> Mapping[str, str]:
        return {**self._wire.headers(self._key), **self._options.headers}

    def _secrets(self) -> tuple[str, ...]:
        return (self._key,) if self._key and len(self._key) >= _SHORTEST_SECRET else ()

    def check(self, needs: Needs) -> None:
        """Find out whether the server can answer such requests. Raises :class:`~lmrun.errors.BackendError`."""
        self._ask(self._wire.check(needs, self._post))

    def counter(self) -> Callable[[Request], int] | None:
        """What counts prompt tokens, where the manifest names a tokenizer."""
        return self._wire.counter()

    def capabilities(self) -> Sequence[Capability]:
        """All that can be found out about the server."""
        return self._ask(self._wire.capabilities(self._post))

    def _ask(self, question: Coroutine[Any, Any, T]) -> T:
        assert self._thread is not None
        try:
            return self._thread.run(question)
        except Failed as failed:
            raise self._error(failed) from None

    @property
    def _post(self) -> Poster:
        assert self._ready and self._poster
        return self._poster

    @property
    def _ready(self) -> Sender:
        if self._sender is None:
            raise BackendError(f'model "{self._spec.name}" is not loaded', hint="call load() first")
        return self._sender

    # -- showing -------------------------------------------------------------------------------------------------------

    def as_curl(self, request: Request) -> str:
        """A request as a command for a shell; the key stays in its environment variable.

        Raises:
            BackendError: the tokenizer cannot be loaded.
            Unanswerable: the protocol cannot ask this.
        """
        call = next((c for c in self._wire.calls([Asked(0, request)]) if isinstance(c, Call)), None)
        if call is None:
            raise Unanswerable("nothing_to_ask", "nothing is sent for this request")
        dialect = Dialect.of(self._base_url, self._spec.model, self._spec.backend, self._options.dialect)
        name = self._key_name
        others = {name: value for name, value in self._options.headers.items() if name.lower() not in _WHO}
        headers = {**self._wire.headers(variable(name) if name else None), **others}
        url = Address(self._base_url, {}, self._options.query).url(call.path)
        return command(str(url), headers, dialect.apply(call.body))

    # -- answering -----------------------------------------------------------------------------------------------------

    def run(self, requests: Sequence[Request], answered: Collection[int] = frozenset()) -> Iterator[Chunk]:
        """Answer requests, as they finish; see :meth:`~lmrun.backends.base.Backend.run`."""
        return self.stream((i, request) for i, request in enumerate(requests) if i not in answered)

    def stream(self, requests: Iterator[tuple[int, Request]]) -> Iterator[Chunk]:
        """Answer requests, as they finish; see :meth:`~lmrun.backends.base.StreamingBackend.stream`."""
        self._pump = self._batch_pump() if self._options.mode == "batch" else self._live_pump()
        try:
            yield from self._pump.stream(requests)
        except Gone as gone:
            raise self._error(gone.failed) from None

    def _live_pump(self) -> Pump:
        sender = self._ready
        assert self._thread is not None
        return Pump(self._wire, self._options, sender, self._thread)

    def _batch_pump(self) -> BatchPump:
        from lmrun.backends.api.batch.providers import connected
        from lmrun.backends.api.batch.pump import BatchPump

        if self._spec.state is None:
            raise BackendError(
                f'model "{self._spec.name}": mode = "batch" works within a run only, which remembers its batches',
                hint='use `lmrun batch`, or mode = "live"',
            )
        sender = self._ready
        assert self._thread is not None
        connect = partial(connected, self._spec.backend, self._address, self._options)
        return BatchPump(self._wire, self._options, sender.dialect, self._thread, connect, self._spec.state)

    def usage(self) -> Usage:
        """What is on its way, how fast, and what holds it back."""
        pump = self._pump
        return usage(self._sender, pump) if pump is None or isinstance(pump, Pump) else pump.usage()

    # -- steering ------------------------------------------------------------------------------------------------------

    @property
    def steerable(self) -> bool:
        """Requests that are sent one by one can be held back; a batch at a provider cannot."""
        return self._options.mode == "live"

    def hold(self, held: bool) -> None:
        """Send nothing more and finish what is in flight, or go on; see :class:`~lmrun.backends.base.Steerable`."""
        assert self._thread is not None
        self._thread.soon(self._ready.gate.hold, held)

    def scale(self, factor: float) -> str:
        """Change how many requests may be in flight; see :class:`~lmrun.backends.base.Steerable`."""
        gate = self._ready.gate

        async def change() -> int:
            return gate.scale(factor)

        assert self._thread is not None
        return f"up to {self._thread.run(change()):,} requests in flight"

    def drop(self, positions: Collection[int]) -> Collection[int]:
        """Forget requests that are not on their way yet; see :class:`~lmrun.backends.base.Steerable`."""
        return self._pump.drop(positions) if isinstance(self._pump, Pump) else ()

    def close(self) -> None:
        """End all connections."""
        if self._thread is None:
            return
        if self._sender and self._transport:
            self._sender.gate.close()
            self._thread.run(self._transport.close())
        self._thread.close()
        self._thread = self._transport = self._poster = self._sender = self._pump = None

    def _error(self, failed: Failed) -> ModelError:
        models: Sequence[str] = ()
        if failed.kind == "not_found" and self._thread and self._transport:
            with suppress(Failed):
                models = self._thread.run(served_models(self._transport))
        name = self._options.api_key_env or self._wire.key_env
        message, hint = explained(failed, self._base_url, self._spec.model, name, bool(self._key), models)
        return ModelError(f'model "{self._spec.name}": {message}', hint=hint)


def _plain(value: Any) -> Any:
    """A value as JSON has it."""
    if isinstance(value, Mapping):
        return {str(name): _plain(inner) for name, inner in sorted(value.items())}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    if hasattr(value, "__dataclass_fields__"):
        fields = {name: getattr(value, name) for name in value.__dataclass_fields__}
        return {name: _plain(inner) for name, inner in fields.items() if inner is not None}
    return value
