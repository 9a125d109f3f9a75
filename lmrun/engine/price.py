"""What tokens of one model cost. Apart from where prices come from: whoever reads a run needs no manifests."""

from __future__ import annotations

from dataclasses import dataclass

from lmrun.store.records import Tokens

_MILLION = 1_000_000


@dataclass(frozen=True, slots=True)
class Price:
    """US dollars per million tokens, as they are charged: the share of a batch is in them."""

    input: float
    cached: float
    output: float
    source: str
    """Who says so, and since when."""

    def usd(self, tokens: Tokens) -> float:
        """What these tokens cost."""
        fresh = tokens.input - tokens.cached
        dollars = fresh * self.input + tokens.cached * self.cached + tokens.output * self.output
        return dollars / _MILLION


FREE = Price(0.0, 0.0, 0.0, "it runs here")
