"""What tokens of a model cost: as its manifest says, by the user's own table, or by the table that lmrun brings."""

from __future__ import annotations

import datetime
import ipaddress
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from importlib.resources import as_file, files
from pathlib import Path
from urllib.parse import urlsplit

from pydantic import Field, ValidationError

from lmrun.backends.base import ModelSpec
from lmrun.engine.price import FREE, Price
from lmrun.errors import ManifestError, Problem
from lmrun.manifest import Manifest
from lmrun.manifest.backends import API, LOCAL
from lmrun.manifest.model_tables import Price as PriceTable
from lmrun.manifest.tree import Node, UnreadableError, read_tree
from lmrun.manifest.values import Section, Text

_DATED = re.compile(r"-\d{4}-?\d{2}-?\d{2}$")
_LOCAL = (*LOCAL, "scripted")
"""Backends that ask nobody."""


class Provider(Section):
    """Prices of one provider: a table of a file of prices."""

    source: Text | None = None
    """The provider's page that says so."""
    checked: datetime.date | None = None
    """When that was read."""
    host: Text | None = None
    """Where the models must be asked for these prices. Absent: anywhere."""
    backends: list[Text] = Field(default_factory=list)
    """Backends that ask this host unless they are told otherwise."""
    models: dict[str, PriceTable]
    """By name of the model, also for its dated versions; `*` is a wildcard."""

    def price_of(self, spec: ModelSpec) -> PriceTable | None:
        """The price of a model, if it is asked here and known."""
        if (
            self.host is not None
            and _host(spec) != self.host
            and not (_host(spec) is None and spec.backend in self.backends)
        ):
            return None
        names = (spec.model, _DATED.sub("", spec.model))
        exact = next((self.models[name] for name in names if name in self.models), None)
        return exact or next((price for name, price in self.models.items() if fnmatchcase(spec.model, name)), None)


@dataclass(frozen=True, slots=True)
class Prices:
    """Tables of prices: the first that knows a model decides."""

    own: Sequence[Provider]
    """The user's."""
    bundled: Sequence[Provider]
    own_file: Path | None = None

    @classmethod
    def open(cls, file: Path | None) -> Prices:
        """The bundled table under the user's. Raises :class:`~lmrun.errors.ManifestError`."""
        with as_file(files("lmrun.engine") / "prices.toml") as bundled:
            return cls(_read(file) if file else (), _read(bundled), file)

    def of(self, spec: ModelSpec) -> Price | None:
        """The price of a model; None where nobody knows it."""
        if spec.backend in API and spec.options.get("price"):
            return _charged(PriceTable(**spec.options["price"]), spec, "the manifest")
        for provider in self.own:
            if found := provider.price_of(spec):
                return _charged(found, spec, _source(provider, str(self.own_file)))
        if is_local(spec):
            return FREE
        for provider in self.bundled:
            if found := provider.price_of(spec):
                return _charged(found, spec, _source(provider, "lmrun"))
        return None


def is_local(spec: ModelSpec) -> bool:
    """Whether a model runs on this machine, and nobody is paid for it."""
    host = _host(spec)
    if host is None:
        return spec.backend in _LOCAL
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host == "localhost"
    return address.is_loopback or address.is_unspecified


def require_prices(manifest: Manifest, prices: Mapping[str, Price | None]) -> None:
    """A budget in dollars needs the price of every model. Raises :class:`~lmrun.errors.ManifestError`."""
    if manifest.run.budget_usd is None:
        return
    unknown = [model for model in manifest.models if prices[model.name] is None]
    if unknown:
        raise ManifestError(
            "budget_usd cannot be kept: a price is missing",
            problems=tuple(Problem(no_price(model.name), model.location) for model in unknown),
            hint='or name a file with prices: [run] prices = "prices.toml"; docs/costs.md shows one',
        )


def no_price(name: str) -> str:
    """What is missing of a model, and how to add it."""
    return f"no price known for {name}: add price = {{ input = …, output = … }} (US dollars per million tokens)"


def _host(spec: ModelSpec) -> str | None:
    url = spec.options.get("base_url")
    return urlsplit(url).hostname if isinstance(url, str) else None


def _charged(table: PriceTable, spec: ModelSpec, source: str) -> Price:
    cached = table.input if table.cached is None else table.cached
    price = Price(table.input, cached, table.output, source)
    if spec.options.get("mode") != "batch":
        return price
    share = table.batch
    return replace(price, input=table.input * share, cached=cached * share, output=table.output * share)


def _source(provider: Provider, name: str) -> str:
    said = provider.source or name
    return f"{said} ({provider.checked})" if provider.checked else said


# -- files -------------------------------------------------------------------------------------------------------------


def _read(file: Path) -> tuple[Provider, ...]:
    try:
        tree = read_tree(file)
    except UnreadableError as error:
        raise _wrong(file, [error.problem]) from error
    providers: list[Provider] = []
    problems: list[Problem] = []
    for name, node in tree.table().items():
        try:
            providers.append(Provider.model_validate(node.plain()))
        except ValidationError as error:
            problems += _problems(name, node, error)
    if problems:
        raise _wrong(file, problems)
    return tuple(providers)


def _problems(name: str, node: Node, error: ValidationError) -> Iterator[Problem]:
    for found in error.errors(include_url=False, include_input=False):
        path = [str(step) for step in found["loc"]]
        # What is missing has no place of its own: that of the table around it is shown.
        known = next((length for length in range(len(path), -1, -1) if node.get(*path[:length])), 0)
        place = (node.get(*path[:known]) or node).place
        message = f"{'.'.join((name, *path))}: {found['msg'][:1].lower()}{found['msg'][1:]}"
        yield place.problem(message, expected=_EXAMPLE)


_EXAMPLE = '[any-name.models] with lines such as "my-model" = { input = 0.5, output = 1.5 }'


def _wrong(file: Path, problems: Sequence[Problem]) -> ManifestError:
    return ManifestError(f"{file}: not a table of prices", problems=tuple(problems))
