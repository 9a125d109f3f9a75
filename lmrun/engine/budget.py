"""What a run has spent, and the budget that it must not exceed.

A request is handed out only if the most that it can take fits beside what was spent and what is on its way; its answer
says what it took. So the budget holds whatever the order of the answers, and nothing is cut off half-way.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from lmrun.backends.base import Chunk
from lmrun.engine.estimate import upper_bound
from lmrun.engine.price import Price
from lmrun.engine.signals import throw_into
from lmrun.requests import Request
from lmrun.store.records import Tokens

Asked = Iterator[tuple[int, Request]]
"""Requests with their positions."""

_NONE, _ONE = Tokens(), Tokens(input=1)


class BudgetSpent(BaseException):
    """Nothing more can be asked within the budget, and nothing is on its way.

    A stop like an interrupt: no job and no model has failed.
    """

    def __init__(self, key: str) -> None:
        super().__init__(f"{key} is spent")
        self.key = key
        """What to raise in the manifest: ``budget_usd`` or ``budget_tokens``."""


@dataclass(slots=True)
class Account:
    """What one model has spent."""

    price: Price | None
    spent: Tokens = field(default_factory=Tokens)
    reserved: Tokens = field(default_factory=Tokens)
    """The most that requests on their way can take."""

    def usd(self) -> float:
        """What was spent, in dollars; 0 without a price."""
        return self.price.usd(self.spent) if self.price else 0.0

    def most(self, more: Tokens) -> tuple[float, int]:
        """Dollars and tokens that will have been spent at most, if ``more`` is handed out as well."""
        tokens = self.spent + self.reserved + more
        return self.price.usd(tokens) if self.price else 0.0, tokens.total


@dataclass(slots=True)
class Budget:
    """Limits of a run, over the accounts of all its models; None is no limit."""

    usd: float | None = None
    tokens: int | None = None
    accounts: dict[str, Account] = field(default_factory=dict)

    @classmethod
    def of(
        cls, usd: float | None, tokens: int | None, prices: Mapping[str, Price | None], spent: Mapping[str, Tokens]
    ) -> Budget:
        """A budget of which a run has spent something already, by the models' names."""
        accounts = {name: Account(price, spent.get(name, _NONE)) for name, price in prices.items()}
        return cls(usd, tokens, accounts)

    @property
    def limited(self) -> bool:
        """Whether there is a limit."""
        return self.usd is not None or self.tokens is not None

    def spent(self) -> tuple[float, int]:
        """Dollars and tokens spent so far."""
        return sum(a.usd() for a in self.accounts.values()), sum(a.spent.total for a in self.accounts.values())

    def obstacle(self, name: str, more: Tokens) -> str | None:
        """Which limit forbids that a model takes so many tokens more; None if it may."""
        most = [account.most(more if key == name else _NONE) for key, account in self.accounts.items()]
        dollars, tokens = sum(each[0] for each in most), sum(each[1] for each in most)
        if self.usd is not None and dollars > self.usd:
            return "budget_usd"
        return "budget_tokens" if self.tokens is not None and tokens > self.tokens else None

    def facts(self) -> dict[str, Any]:
        """What is kept with a run: prices in US dollars per million tokens, and limits."""
        prices = {name: asdict(account.price) if account.price else None for name, account in self.accounts.items()}
        return {"prices": prices, "budget_usd": self.usd, "budget_tokens": self.tokens}

    def guard(self, name: str) -> Guard:
        """What stands between the requests of a model and its backend."""
        return Guard(self, name, self.accounts[name])


class Guard:
    """Lets requests of one model through as long as they fit."""

    def __init__(self, budget: Budget, name: str, account: Account) -> None:
        self._budget, self._name, self._account = budget, name, account
        self._on_their_way: dict[int, Tokens] = {}
        self._held: tuple[int, Request] | None = None

    def require(self, more: Tokens) -> None:
        """Raise :class:`BudgetSpent` unless so many tokens more fit."""
        if obstacle := self._budget.obstacle(self._name, more):
            raise BudgetSpent(obstacle)

    def stream(self, send: Callable[[Asked], Iterator[Chunk]], requests: Asked) -> Iterator[Chunk]:
        """Answers of ``send``, which is called again whenever answers made room for what did not fit before.

        Raises:
            BudgetSpent: the next request does not fit, and no answer is to come that could make room.
        """
        if not self._budget.limited:
            yield from self._settled(send(requests))
            return
        self._held = next(requests, None)
        while self._held is not None:
            self.require(upper_bound(self._held[1]))
            yield from self._settled(send(self._affordable(requests)))

    def chunks(self, ask: Callable[[], Iterator[Chunk]], left: int) -> Iterator[Chunk]:
        """Answers of a backend that forms its own batches, ``left`` in all; the one that spends the budget is the last.

        Raises:
            BudgetSpent: it is spent before all are answered.
        """
        self.require(_ONE)
        for chunk in self._settled(ask()):
            yield chunk
            left -= len(chunk)
            if left > 0:
                self.require(_ONE)

    def _settled(self, answers: Iterator[Chunk]) -> Iterator[Chunk]:
        """Put what answers took in the place of what they could have taken."""
        chunk = next(answers, None)
        while chunk is not None:
            for position, response in chunk:
                self._account.reserved -= self._on_their_way.pop(position, _NONE)
                self._account.spent += Tokens.of(response)
            try:
                yield chunk
            except KeyboardInterrupt as interrupt:
                chunk = throw_into(answers, interrupt)
            else:
                chunk = next(answers, None)

    def _affordable(self, requests: Asked) -> Asked:
        while self._held is not None:
            position, request = self._held
            most = upper_bound(request)
            if self._budget.obstacle(self._name, most):
                return
            self._on_their_way[position] = most
            self._account.reserved += most
            self._held = next(requests, None)
            yield position, request
