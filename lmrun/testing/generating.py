"""From a prompt to generated tokens: what all endpoints have in common."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from random import Random
from typing import Any, Literal

from lmrun.testing.model import Integers, Model, Rows
from lmrun.testing.script import Script

Body = Mapping[str, Any]
Finish = Literal["stop", "length"]
_CACHE_BLOCK = 64
_UNUSED = Random(0)  # seeding one for every greedy answer takes as long as the answer


class Refused(Exception):  # noqa: N818 - an answer of the server, not a fault of the program
    """A request that the server answers with an error."""

    def __init__(self, message: str, *, status: int = 400, param: str | None = None, code: str | None = None) -> None:
        super().__init__(message)
        self.message, self.status, self.param, self.code = message, status, param, code


@dataclass(frozen=True, slots=True)
class Generated:
    """One answer."""

    ids: list[int]
    """With the end-of-text token, if the model ended by itself; without what follows a stop string."""
    text: str
    finish: Finish
    stop: str | None = None
    """The stop string that ended it."""


class Engine:
    """The model with the rules of a script."""

    def __init__(self, script: Script) -> None:
        self.script = script
        self.model = Model(script.salt)
        self.tokens = self.model.tokens
        self.numbers = count(1)
        """For ids of answers, files and batches."""
        self._seen: set[int] = set()

    def read(self, body: Body) -> dict[str, Any]:
        """A body as the server understands it. Raises :class:`Refused`."""
        script = self.script
        if not isinstance(body, dict):
            raise Refused("The body must be a JSON object.")
        known = {k: v for k, v in body.items() if v is not None and k not in script.ignores}
        for name, instead in script.refuses.items():
            if name in known:
                advice = f" Use '{instead}' instead." if instead else ""
                message = f"Unsupported parameter: '{name}' is not supported with this model.{advice}"
                raise Refused(message, param=name, code="unsupported_parameter")
        if known.get("model") != script.model:
            message = f"The model `{known.get('model')}` does not exist or you do not have access to it."
            raise Refused(message, status=404, param="model", code="model_not_found")
        if known.get("stream"):
            raise Refused("The scripted server does not stream.", param="stream")
        self._check_temperature(known)
        return known

    def _check_temperature(self, body: Body) -> None:
        temperature = body.get("temperature", 1)
        if not isinstance(temperature, (int, float)) or not 0 <= temperature <= 2:
            raise Refused("'temperature' must be a number from 0 to 2.", param="temperature", code="invalid_value")
        if self.script.fixed_temperature and temperature != 1:
            message = (
                f"Unsupported value: 'temperature' does not support {temperature} with this model. "
                "Only the default (1) value is supported."
            )
            raise Refused(message, param="temperature", code="unsupported_value")

    def stops(self, body: Body, name: str = "stop") -> list[str]:
        """The stop strings of a request. Raises :class:`Refused`."""
        stop = body.get(name) or []
        stops = [stop] if isinstance(stop, str) else stop
        most = self.script.max_stops
        if most is not None and len(stops) > most:
            message = (
                f"Invalid '{name}': array too long. Expected an array with maximum length {most}, "
                f"but got an array with length {len(stops)} instead."
            )
            raise Refused(message, param=name, code="array_above_max_length")
        return list(stops)

    def check_prefill(self, messages: Any) -> None:
        """Refuse words put into the assistant's mouth, where the script says so. Raises :class:`Refused`."""
        if self.script.refuses_prefill and messages and messages[-1].get("role") == "assistant":
            message = (
                "This model does not support assistant message prefill. The conversation must end with a user message."
            )
            raise Refused(message, param="messages")

    def at_most(self, body: Body, name: str, limit: int) -> int:
        """How many alternatives per token a request asks for. Raises :class:`Refused`."""
        wanted = body[name]
        if not isinstance(wanted, int) or not 0 <= wanted <= limit:
            message = (
                f"Invalid '{name}': integer above maximum value. Expected a value <= {limit}, but got {wanted} instead."
            )
            raise Refused(message, param=name, code="integer_above_max_value")
        return wanted

    def room(self, n_prompt: int, n_new: int | None, param: str) -> int:
        """How many tokens may be generated. Raises :class:`Refused` where the context is too short."""
        length = self.script.context_length
        if n_new is not None and (not isinstance(n_new, int) or n_new < 0):
            raise Refused("'max_tokens' must be a whole number.", param="max_tokens", code="invalid_value")
        asked = n_new if n_new is not None else int(n_prompt < length)
        if n_prompt + asked > length or n_prompt > length:
            message = (
                f"This model's maximum context length is {length} tokens. However, you requested {n_prompt + asked} "
                f"tokens ({n_prompt} in the {param}, {asked} in the completion). Please reduce the length of the "
                f"{param} or completion."
            )
            raise Refused(message, param=param, code="context_length_exceeded")
        return length - n_prompt if n_new is None else n_new

    def generate(self, ids: Sequence[int], n: int, body: Body, stops: Sequence[str], which: int = 0) -> Generated:
        """Answer number ``which`` to a prompt. The same request always has the same answer."""
        state = self.model.after(ids)
        planned = self._planned(ids)
        temperature = float(body.get("temperature", 1))
        if planned is not None:
            new = [*self.tokens.encode(planned), self.tokens.end][:n]
        else:
            random = Random(f"{state.total} {body.get('seed')} {which}") if temperature else _UNUSED
            new = self.model.generate(state, n, temperature, random)
        return self._cut(new, stops)

    def _planned(self, ids: Sequence[int]) -> str | None:
        if not self.script.replies:
            return None
        prompt = self.tokens.decode(ids)
        return next((reply for key, reply in self.script.replies.items() if key in prompt), None)

    def _cut(self, ids: list[int], stops: Sequence[str]) -> Generated:
        ended = bool(ids) and ids[-1] == self.tokens.end
        text = self.tokens.decode(ids[:-1] if ended else ids)
        found = min(((text.find(s), s) for s in stops if s and s in text), default=None)
        if found is None:
            return Generated(ids, text, "stop" if ended else "length")
        at, stop = found
        kept = [i for i, offset in zip(ids, self.tokens.offsets(ids), strict=True) if offset < at]
        return Generated(kept, text[:at], "stop", stop)

    def cached(self, ids: Sequence[int]) -> int:
        """Tokens at the beginning of a prompt that an earlier prompt had too, in blocks of 64; remembers this one."""
        cached = block = 0
        for start in range(0, len(ids) - _CACHE_BLOCK + 1, _CACHE_BLOCK):
            block = hash((block, *ids[start : start + _CACHE_BLOCK]))
            if block in self._seen and cached == start:
                cached = start + _CACHE_BLOCK
            self._seen.add(block)
        if len(self._seen) > 100_000:
            self._seen.clear()
        return cached

    def scored(self, ids: Sequence[int], *, shifted: bool = False) -> tuple[Rows, Integers]:
        """The distribution before each token, and the place of the token in it.

        ``shifted`` takes the distribution after the token in place of the one before, as llama-cpp-python does.
        """
        rows = self.model.rows(ids)
        rows = Rows(rows.favorite[1:], rows.shift[1:]) if shifted else Rows(rows.favorite[:-1], rows.shift[:-1])
        return rows, self.model.ranks(rows, ids)


def usage(n_prompt: int, n_new: int, cached: int, reasoning: int | None = None) -> dict[str, Any]:
    """``usage`` as OpenAI and vLLM state it."""
    details = {} if reasoning is None else {"completion_tokens_details": {"reasoning_tokens": reasoning}}
    return {
        "prompt_tokens": n_prompt,
        "completion_tokens": n_new,
        "total_tokens": n_prompt + n_new,
        "prompt_tokens_details": {"cached_tokens": cached},
        **details,
    }
