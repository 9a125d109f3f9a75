"""What a server understands otherwise than the protocol says: known beforehand, or learnt from what it refuses.

Known dialects are data, ``dialects.toml``. Where a server refuses a parameter by name, the dialect is repaired, once
per parameter, and the repair holds for the rest of the run. Nothing that an answer is read from is ever taken out of a
request (the prompt, ``logprobs``, ``echo`` …): a server without these is refused by the probe.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from functools import cache
from importlib.resources import files
from typing import Any
from urllib.parse import urlsplit

from lmrun.backends.api.options import DialectOptions
from lmrun.backends.api.refusal import Refused, refusals
from lmrun.errors import BackendError

if sys.version_info >= (3, 11):
    from tomllib import loads
else:
    from tomli import loads

STOPS = ("stop", "stop_sequences")
LIMITS = ("max_tokens", "max_completion_tokens")
"""The two names of the longest answer."""
_COUNTS = ("top_logprobs", "logprobs")
"""Chat counts alternatives in the one, completions in the other."""
DROPPABLE = frozenset(
    "stop stop_sequences seed random_seed temperature top_p top_k min_p "
    "frequency_penalty presence_penalty repetition_penalty".split()
)
"""What may be left out when a server refuses it; every sample that this changed says so."""
_USUAL_STOPS = 4


@dataclass(frozen=True, slots=True)
class Rules:
    """How the body of a request is rewritten."""

    rename: Mapping[str, str] = field(default_factory=dict)
    drop: frozenset[str] = frozenset()
    fixed: Mapping[str, Any] = field(default_factory=dict)
    max_stops: int | None = None
    max_top_logprobs: int | None = None

    def over(self, below: Rules) -> Rules:
        """These rules put on top of others."""
        return Rules(
            {**below.rename, **self.rename},
            below.drop | self.drop,
            {**below.fixed, **self.fixed},
            below.max_stops if self.max_stops is None else self.max_stops,
            below.max_top_logprobs if self.max_top_logprobs is None else self.max_top_logprobs,
        )

    def new_name(self, name: str) -> str:
        """What a parameter is called here; renames may follow each other."""
        seen = {name}
        while (target := self.rename.get(name, name)) != name:
            if target in seen:
                raise BackendError(
                    f'dialect.rename goes in a circle: "{target}" becomes itself',
                    hint="give each parameter one name",
                )
            seen.add(target)
            name = target
        return name

    def rewrite(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """A body as this server understands it. Rewriting twice is the same as once."""
        sent: dict[str, Any] = {}
        for name, value in body.items():
            target = self.new_name(name)
            if name in self.drop or target in self.drop or (target != name and target in body):
                continue  # a parameter that is there under its new name was put there on purpose
            sent[target] = self._value(target, value)
        return sent

    def _value(self, name: str, value: Any) -> Any:
        if name in self.fixed:
            return self.fixed[name]
        if name in STOPS and self.max_stops is not None and isinstance(value, (list, tuple)):
            return list(value[: self.max_stops])
        if name in _COUNTS and self.max_top_logprobs is not None and _is_count(value):
            return min(value, self.max_top_logprobs)
        return value


class Dialect:
    """The dialect of one server, for one model. Safe to use from several threads and tasks."""

    def __init__(self, rules: Rules, settled: frozenset[str] = frozenset()) -> None:
        self._rules = rules
        self._settled = settled
        """What the manifest speaks of is not repaired: it wins."""
        self._repaired: dict[str, str] = {}
        self._lock = threading.Lock()  # rules and repairs change together

    @classmethod
    def of(cls, base_url: str, model: str, backend: str, options: DialectOptions) -> Dialect:
        """What is known of the provider, with the table of the manifest on top."""
        known = Rules()
        for entry in _known():
            if entry.fits(urlsplit(base_url).hostname or "", model, backend):
                known = entry.rules.over(known)
        said = Rules(options.rename or {}, _names(options.drop), {}, options.max_stops, options.max_top_logprobs)
        # What is said of drops replaces what is known: so a known drop can be undone.
        rules = said.over(known if options.drop is None else replace(known, drop=frozenset()))
        for name in rules.rename:
            rules.new_name(name)  # circles are found now, not in the middle of a run
        settled = {*said.rename, *said.rename.values(), *said.drop}
        return cls(rules, frozenset(settled | (set(STOPS) if said.max_stops is not None else set())))

    @property
    def max_stops(self) -> int | None:
        """Stop strings that a request may have, where it is known."""
        return self._rules.max_stops

    @property
    def max_top_logprobs(self) -> int | None:
        """Alternatives per token that a request may ask for, where it is known."""
        return self._rules.max_top_logprobs

    @property
    def repairs(self) -> Sequence[str]:
        """What the server has taught, in order."""
        return list(self._repaired.values())

    def apply(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """A body of the protocol as it is sent to this server."""
        return self._rules.rewrite(body)

    def repair(self, status: int, reply: Any, sent: Mapping[str, Any]) -> str | None:
        """Learn from a refusal.

        Args:
            status: of the reply; only 400 and 422 name parameters.
            reply: its JSON, or its text.
            sent: the body that was refused, as :meth:`apply` gave it.

        Returns:
            What was repaired, and the request is worth sending again; or None. There is at most one repair per
            parameter, so whoever sends again after each comes to an end.
        """
        if status not in (400, 422):
            return None
        with self._lock:
            if self._rules.rewrite(sent) != dict(sent):
                # It was on its way while another request taught the same.
                return next((text for name, text in self._repaired.items() if name in sent), None)
            done = [text for refused in refusals(reply, sent) if (text := self._learn(refused, sent))]
            return ", ".join(done) or None

    def notes(self, body: Mapping[str, Any], sent: Mapping[str, Any]) -> dict[str, Any]:
        """What a reader of the sample should know of the difference between a body and how it was sent."""
        notes: dict[str, Any] = {}
        if texts := [text for name, text in self._repaired.items() if name in body and sent.get(name) != body[name]]:
            notes["repaired"] = texts
        if dropped := [name for name in body if name not in STOPS and not self._is_sent(name, sent)]:
            notes["dropped"] = dropped
        for name in STOPS:
            if lost := len(_listed(body.get(name))) - len(_listed(sent.get(name))):
                notes["dropped_stops"] = lost
        if changed := {n: sent[n] for n in body if n in sent and n not in STOPS and sent[n] != body[n]}:
            notes["changed"] = changed
        return notes

    def _is_sent(self, name: str, sent: Mapping[str, Any]) -> bool:
        return name in sent or self._rules.new_name(name) in sent

    # -- repairs -------------------------------------------------------------------------------------------------------

    def _learn(self, refused: Refused, sent: Mapping[str, Any]) -> str | None:
        name = refused.name
        if name in self._repaired or name in self._settled:
            return None
        change = _change(refused, sent, self._rules)
        if change is None or change.rules.rewrite(sent) == self._rules.rewrite(sent):
            return None
        self._rules = change.rules
        self._repaired[name] = change.text
        return change.text


@dataclass(frozen=True, slots=True)
class _Change:
    rules: Rules
    text: str


def _change(refused: Refused, sent: Mapping[str, Any], rules: Rules) -> _Change | None:
    """How the rules change so that a refused parameter is no longer sent like that; None: it has to be."""
    name, value = refused.name, sent[refused.name]
    if name in LIMITS:
        other = LIMITS[1 - LIMITS.index(name)]
        if not refused.unsupported or other in sent:
            return None
        rename = {old: new for old, new in rules.rename.items() if new != name}
        return _Change(replace(rules, rename={**rename, name: other}), f"{name} → {other}")
    taken = refused.most is not None or not refused.unsupported  # only not so many
    if name in STOPS and taken and len(_listed(value)) > (most := refused.most or _USUAL_STOPS):
        return _Change(replace(rules, max_stops=most), f"{name}: {most} at most")
    if name in _COUNTS:
        if refused.most is None or not _is_count(value) or value <= refused.most:
            return None
        return _Change(replace(rules, max_top_logprobs=refused.most), f"{name}: {refused.most} at most")
    if name in DROPPABLE and refused.unsupported:
        return _Change(replace(rules, drop=rules.drop | {name}), f"{name} left out")
    return None


def _listed(stops: Any) -> Sequence[str]:
    if isinstance(stops, str):
        return [stops]
    return stops if isinstance(stops, (list, tuple)) else ()


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _names(drop: str | Sequence[str] | None) -> frozenset[str]:
    return frozenset([drop] if isinstance(drop, str) else drop or ())


# -- what is known -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Entry:
    provider: str
    rules: Rules
    host: Sequence[str] = ("*",)
    backend: Sequence[str] = ("*",)
    model: Sequence[str] = ("*",)
    but: Sequence[str] = ()

    def fits(self, host: str, model: str, backend: str) -> bool:
        """Whether this is about such a model at such an address."""
        return (
            _any(host.lower(), self.host)
            and _any(backend, self.backend)
            and _any(model, self.model)
            and not _any(model, self.but)
        )


def _any(text: str, patterns: Sequence[str]) -> bool:
    return any(fnmatchcase(text, pattern) for pattern in patterns)


@cache
def _known() -> tuple[_Entry, ...]:
    text = files("lmrun.backends.api").joinpath("dialects.toml").read_text(encoding="utf-8")
    return tuple(_entry(table) for table in loads(text)["dialect"])


def _entry(table: dict[str, Any]) -> _Entry:
    where = {name: table.pop(name) for name in ("provider", "host", "backend", "model", "but") if name in table}
    return _Entry(rules=Rules(**{**table, "drop": frozenset(table.get("drop", ()))}), **where)
