"""What the models of a run took and cost. Read from the run store alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from lmrun.engine.price import FREE, Price
from lmrun.store.reader import RunReader
from lmrun.store.records import Tokens


@dataclass(frozen=True, slots=True)
class ModelUsage:
    """Tokens of one model's answers, without those from the cache. What failed attempts took, no provider tells."""

    tokens: Tokens
    price: Price | None
    """As of the last start of the run."""

    @property
    def usd(self) -> float | None:
        """US dollars; None without a price."""
        return self.price.usd(self.tokens) if self.price else None

    @property
    def paid(self) -> bool:
        """Whether somebody is asked who charges for it."""
        return self.price != FREE


def usage_by_model(reader: RunReader) -> dict[str, ModelUsage]:
    """Models in the order of the manifest. A run of an earlier version has no prices, and was asked nowhere."""
    prices: Mapping[str, Any] = reader.info().get("prices") or {}
    found = {}
    for name, tokens in reader.tokens().items():
        price = prices.get(name, {})
        stated = Price(**price) if price else FREE if price == {} else None
        found[name] = ModelUsage(tokens, stated)
    return found


def usage_as_json(usage: ModelUsage) -> dict[str, Any]:
    """For results and programs."""
    tokens, price = usage.tokens, usage.price
    return {
        "input_tokens": tokens.input,
        "cached_tokens": tokens.cached,
        "output_tokens": tokens.output,
        "reasoning_tokens": tokens.reasoning,
        "usd": usage.usd,
        "price": None
        if price is None
        else {"input": price.input, "cached": price.cached, "output": price.output, "source": price.source},
    }
