"""Which parameter a server refuses, and why, read from its reply to a request."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

_ADVICE = re.compile(r"\b(?:Use|Did you mean|try)\b")
"""What comes after names what is taken."""
_LONGEST = 600
"""Characters of a message that are looked at; longer ones quote the prompt."""
_UNSUPPORTED = re.compile(
    r"unsupported|(?:not|n't) (?:yet )?(?:be )?(?:support|permitted|allowed|accepted|available|implemented)"
    r"|only the default|unknown (?:name|param|arg|field)|unrecogni[sz]ed|unexpected|deprecated|incompatible"
    r"|cannot both|extra_forbidden|cannot find field",
    re.IGNORECASE,
)
_MOST = re.compile(r"(?:max(?:imum)?|at most|up to|exceed|less than or equal to|limit)\D{0,30}?(\d+)", re.IGNORECASE)
_TOO_MUCH = re.compile(
    r"too (?:many|long)|max|at most|up to|exceed|less than or equal|limit|greater than", re.IGNORECASE
)


class Refused(NamedTuple):
    """A parameter that a server does not take as it was sent."""

    name: str
    unsupported: bool
    """It is not taken at all, or not with another value than the server's own."""
    most: int | None
    """The most that is taken, of what can be counted."""


def refusals(reply: Any, sent: Mapping[str, Any]) -> Iterator[Refused]:
    """The parameters of ``sent`` that a reply refuses by name; it may be JSON of any of the usual shapes, or text."""
    for complaint in _complaints(_as_json(reply)):
        text = complaint.text[:_LONGEST]
        unsupported = bool(_UNSUPPORTED.search(text))
        most = _MOST.search(text) if _TOO_MUCH.search(text) else None
        names = complaint.names(sent)
        if "cannot both" in text:
            names = names[1:]  # one of two has to go: the one named last
        for name in names:
            # The limit of a context names max_tokens, too; it is not about that parameter.
            yield Refused(name, unsupported, int(most.group(1)) if most else None)


class _Complaint(NamedTuple):
    text: str
    parameter: str | None = None

    def names(self, sent: Mapping[str, Any]) -> list[str]:
        if self.parameter is not None:
            return [self.parameter] if self.parameter in sent else []
        text = _ADVICE.split(self.text)[0]
        found = [(match.start(), name) for name in sent if (match := re.search(rf"\b{re.escape(name)}\b", text))]
        # In the order in which the message names them.
        return [name for _, name in sorted(found)]


def _as_json(reply: Any) -> Any:
    if not isinstance(reply, (str, bytes)):
        return reply
    try:
        return json.loads(reply)
    except ValueError:
        return reply.decode(errors="replace") if isinstance(reply, bytes) else reply


def _complaints(reply: Any) -> Iterator[_Complaint]:
    """What a reply complains of.

    ``{"error": {"message", "param", "code"}}`` (OpenAI and most others), ``{"message", "param"}`` (older vLLM),
    ``{"detail": [{"type", "loc", "msg"}]}`` (FastAPI), the same inside ``message`` (Mistral), a list of such (Google).
    """
    if isinstance(reply, str):
        yield _Complaint(reply)
    elif isinstance(reply, list):
        for item in reply:
            yield from _complaints(item)
    elif isinstance(reply, dict):
        if "loc" in reply:
            place = reply["loc"]
            named = place[-1] if isinstance(place, list) and place else None
            yield _Complaint(f"{reply.get('type')} {reply.get('msg')}", str(named))
            return
        for name in ("error", "detail"):
            if name in reply:
                yield from _complaints(reply[name])
        yield from _message(reply)


def _message(reply: dict[str, Any]) -> Iterator[_Complaint]:
    message = _as_json(reply.get("message"))
    if isinstance(message, str):
        param = reply.get("param")
        yield _Complaint(f"{message} {reply.get('code') or ''}", _name(param) if isinstance(param, str) else None)
    elif message is not None:
        yield from _complaints(message)


def _name(place: str) -> str | None:
    """``temperature`` of ``$.temperature``, ``body.temperature`` or ``temperature[0]``."""
    return place.partition("[")[0].rpartition(".")[2] or None
