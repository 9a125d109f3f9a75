"""Everything that can be found out about a server, as a table: ``lmrun doctor MANIFEST``."""

from __future__ import annotations

import os
import time
from collections.abc import AsyncIterator, Mapping
from typing import TYPE_CHECKING, Any, Literal

from lmrun.backends.api.call import Post
from lmrun.backends.api.failures import Failed
from lmrun.backends.api.hints import explained, served_models
from lmrun.backends.base import Capability, Needs
from lmrun.errors import BackendError, did_you_mean
from lmrun.requests import Message, Request

if TYPE_CHECKING:
    from lmrun.backends.api.probe import Probe

State = Literal["yes", "no", "unknown"]
_MANY_STOPS = 16
_SHOWN = 8
"""Names of models that are listed."""


async def survey(probe: Probe, post: Post) -> list[Capability]:
    """Ask about everything; where nothing is answered, the rest is not asked."""
    found = [_key(probe)]
    try:
        async for capability in _survey(probe, post):
            found.append(capability)
    except Failed as failed:
        if all(c.name != "address" or c.state == "yes" for c in found):
            found.append(Capability("answers", "no", str(failed), _advice(probe, failed)))
    except BackendError as error:
        found.append(Capability("answers", "no", error.message, error.hint or ""))
    return found


def _key(probe: Probe) -> Capability:
    name = probe.options.api_key_env or probe.wire.key_env
    if os.environ.get(name):
        return Capability("key", "yes", f"${name} is set")
    needed = probe.options.api_key_env or not probe.options.base_url
    return Capability("key", "no" if needed else "unknown", f"${name} is not set", f"export {name}=…" if needed else "")


def _advice(probe: Probe, failed: Failed) -> str:
    key = probe.options.api_key_env or probe.wire.key_env
    return explained(failed, _base_url(probe), probe.spec.model, key, bool(os.environ.get(key)), ())[1]


def _base_url(probe: Probe) -> str:
    return probe.options.base_url or probe.wire.base_url


async def _survey(probe: Probe, post: Post) -> AsyncIterator[Capability]:
    async for capability in _listing(probe, post):
        yield capability
    chat = probe.spec.backend != "openai-completions"
    needs = Needs(frozenset({"generate_until"}), messages=chat, most_stops=_MANY_STOPS)
    start = time.perf_counter()
    await probe.find_answers(post, needs)
    took = time.perf_counter() - start
    yield Capability("answers", "yes", f"{probe.found.told['answers']} in {took * 1000:,.0f} ms")
    yield _dialect(post)
    yield await _stops(probe, post)
    if probe.spec.backend == "openai-completions":
        async for capability in _completions(probe, post):
            yield capability
    else:
        await probe.find_prefill(post)
        yield _found(probe, "prefill", "prefill continued", "tasks with gen_prefix are refused")
    if probe.spec.backend != "anthropic":
        await probe.find_top_logprobs(post)
        yield _found(probe, "top_logprobs", "next-token logprobs", "choices of one token cannot be scored by them")


async def _listing(probe: Probe, post: Post) -> AsyncIterator[Capability]:
    """Whether the address is reached, and what models are there."""
    base_url = _base_url(probe)
    try:
        names = await served_models(post)
    except Failed as failed:
        if failed.kind in ("connection", "timeout", "unauthorized", "bad_address", "certificate"):
            yield Capability("address", "no", f"{base_url}: {failed}", _advice(probe, failed))
            raise
        yield Capability("address", "yes", base_url)
        yield Capability("models", "unknown", f"no list of models: {failed}")
        return
    yield Capability("address", "yes", base_url)
    shown = ", ".join(names[:_SHOWN]) + (f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else "")
    if probe.spec.model in names:
        yield Capability("models", "yes", f"{probe.spec.model} is listed; {len(names):,} in all")
    else:
        advice = did_you_mean(probe.spec.model, names) or "model = one of those listed"
        yield Capability("models", "no" if names else "unknown", f"listed: {shown or 'none'}", advice if names else "")


def _dialect(post: Post) -> Capability:
    """Which parameters had to be changed."""
    dialect = post.dialect
    body = {"max_tokens": 1, "temperature": 0.0, "seed": 1, "stop": ["x"]}
    sent = dialect.apply(body)
    changes = [*dialect.repairs]
    changes += [f"{old} → {new}" for old, new in _renamed(body, sent).items() if f"{old} → {new}" not in changes]
    changes += [f"{name} left out" for name in body if name not in _renamed(body, sent) and name not in sent]
    changes = list(dict.fromkeys(changes))
    return Capability("parameters", "yes", ", ".join(changes) or "as the protocol says")


def _renamed(body: Mapping[str, object], sent: Mapping[str, object]) -> dict[str, str]:
    new = [name for name in sent if name not in body]
    return {old: name for old in body if old not in sent for name in new if sent[name] == body[old]}


async def _stops(probe: Probe, post: Post) -> Capability:
    """How many stops are taken, and whether the server leaves out what comes after one."""
    most = post.dialect.max_stops
    limit = f"{most} at most" if most is not None else f"{_MANY_STOPS} taken"
    call = probe.call(
        Request(
            "generate_until",
            (Message("user", "Count from 1 to 9."),) if probe.spec.backend != "openai-completions" else "1 2 3 4",
            generation={"until": ["5"], "max_gen_toks": 16},
        )
    )
    if "5" in _said(await post(call.path, call.body)):
        return Capability("stops", "no", f"{limit}; what comes after a stop is sent as well", "lmrun cuts it off")
    return Capability("stops", "yes", f"{limit}; all are applied here as well")


def _said(reply: Mapping[str, Any]) -> str:
    """The text of an answer in any of the protocols, stop string included."""
    parts = reply.get("content") or [c.get("message") or c for c in reply.get("choices") or () if isinstance(c, dict)]
    return " ".join(str(part.get("content") or part.get("text") or "") for part in parts if isinstance(part, dict))


async def _completions(probe: Probe, post: Post) -> AsyncIterator[Capability]:
    await probe.find_context(post)
    length = probe.found.max_length
    advice = "" if length or probe.options.max_length else "say it: max_length"
    yield Capability("context length", "yes" if length else "unknown", probe.found.told["max_length"], advice)
    if probe.encoder is not None:
        await probe.find_tokens(post)
        yield _found(probe, "tokens", "token ids", "prompts are sent as text")
        await probe.find_same_tokens(post)
        yield _found(probe, "same_tokens", "same tokenizer", "name the tokenizer of the model that is served")
    if probe.as_tokens:
        await probe.find_prompt_logprobs(post)
        yield _found(probe, "prompt_logprobs", "prompt_logprobs", "")
    await probe.find_echo(post)
    yield _found(probe, "echo", "echo with logprobs", "" if probe.found.prompt_logprobs else "loglikelihood is refused")


def _found(probe: Probe, name: str, title: str, advice: str) -> Capability:
    value = getattr(probe.found, name)
    state: State = "unknown" if value is None else "yes" if value else "no"
    return Capability(title, state, probe.found.told[name], "" if state == "yes" else advice)
