"""A budget is never exceeded, whatever the order of answers, and a run that it stops goes on when it is raised."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lmrun.backends.base import Chunk
from lmrun.display.report import interrupted_words
from lmrun.engine.budget import Asked, Budget, BudgetSpent
from lmrun.engine.estimate import upper_bound
from lmrun.engine.forecast import forecast
from lmrun.engine.inputs import Overrides, open_manifest, open_sources
from lmrun.engine.plan import build_plan
from lmrun.engine.price import Price
from lmrun.engine.signals import throw_into
from lmrun.engine.usage import usage_by_model
from lmrun.errors import ExitCode, ManifestError
from lmrun.requests import Message, Request, Response, ResponseError
from lmrun.store.reader import RunReader
from lmrun.store.records import Tokens
from lmrun.testing.script import Script
from lmrun.testing.scripted import ScriptedBackend
from lmrun.testing.server import ScriptedServer
from tests.engine.conftest import World, complete

PRICE = Price(2.0, 0.5, 8.0, "test")


def stream(server: Server, requests: list[Request]) -> list[int]:
    """Ask them within the budget, as the engine does; returns the positions in the order of the answers."""
    answered = []
    for chunk in server.budget.guard("m").stream(server.stream, enumerate(requests)):
        server.check()
        answered += [position for position, _ in chunk]
    return answered


class Server:
    """Answers in any order, a bounded number at once, with any share of what a request can take."""

    def __init__(self, budget: Budget, seed: int, at_once: int) -> None:
        self.budget, self.random, self.at_once = budget, Random(seed), at_once
        self.asked: Counter[int] = Counter()
        self.rounds = 0

    def stream(self, requests: Asked) -> Iterator[Chunk]:
        self.rounds += 1
        flying: list[tuple[int, Request]] = []
        ended = False
        while flying or not ended:
            while not ended and len(flying) < self.at_once:
                taken = next(requests, None)
                ended = taken is None
                if taken is not None:
                    self.asked[taken[0]] += 1
                    flying.append(taken)
            if flying:
                position, request = flying.pop(self.random.randrange(len(flying)))
                yield [(position, self._answer(request))]

    def _answer(self, request: Request) -> Response:
        most = upper_bound(request)
        prompt, new = self.random.randint(0, most.input), self.random.randint(0, most.output)
        return Response(
            text="x", prompt_tokens=prompt, cached_tokens=self.random.randint(0, prompt), completion_tokens=new
        )

    def check(self) -> None:
        usd, tokens = self.budget.spent()
        assert self.budget.usd is None or usd <= self.budget.usd
        assert self.budget.tokens is None or tokens <= self.budget.tokens


def request(size: int, new: int = 16) -> Request:
    return Request("generate_until", "x" * size, generation={"max_gen_toks": new})


@settings(max_examples=200, deadline=None)
@given(
    sizes=st.lists(st.tuples(st.integers(0, 400), st.integers(1, 200)), max_size=40),
    usd=st.none() | st.floats(0, 0.02),
    tokens=st.none() | st.integers(1, 8000),
    spent=st.integers(0, 500),
    at_once=st.integers(1, 8),
    seed=st.integers(0, 2**16),
)
def test_a_budget_is_never_exceeded(
    sizes: list[tuple[int, int]], usd: float | None, tokens: int | None, spent: int, at_once: int, seed: int
) -> None:
    budget = Budget.of(usd, tokens, {"other": PRICE, "m": PRICE}, {"other": Tokens(input=spent)})
    server = Server(budget, seed, at_once)
    requests = [request(*size) for size in sizes]
    try:
        assert sorted(stream(server, requests)) == list(range(len(requests)))
    except BudgetSpent as stop:
        first = len(server.asked)
        assert sorted(server.asked) == list(range(first)), "requests are handed out in order"
        assert budget.obstacle("m", upper_bound(requests[first])) == stop.key, "it stops only where nothing fits"
    assert set(server.asked.values()) <= {1}
    assert budget.accounts["m"].reserved == Tokens()


def test_answers_make_room_for_more() -> None:
    requests = [request(100, 20) for _ in range(50)]
    most = upper_bound(requests[0]).total
    budget = Budget.of(None, most * 10, {"m": None}, {})
    server = Server(budget, 1, 64)
    with pytest.raises(BudgetSpent):
        stream(server, requests)
    assert server.rounds > 1 and len(server.asked) > 10


def test_without_a_limit_everything_is_handed_out_at_once() -> None:
    budget = Budget.of(None, None, {"m": PRICE}, {})
    server = Server(budget, 1, 4)
    assert len(stream(server, [request(9)] * 9)) == 9 and server.rounds == 1 and budget.spent()[1] > 0


def test_a_spent_budget_asks_for_no_backend() -> None:
    budget = Budget.of(None, 10, {"m": None}, {"m": Tokens(input=10)})
    with pytest.raises(BudgetSpent):
        list(budget.guard("m").chunks(lambda: pytest.fail("the model was loaded"), 1))
    with pytest.raises(BudgetSpent):
        list(budget.guard("m").stream(lambda _: pytest.fail("the model was loaded"), iter([(0, request(1))])))


def test_what_is_thrown_into_the_stream_reaches_the_backend() -> None:
    def send(requests: Asked) -> Iterator[Chunk]:
        position, _ = next(requests)
        try:
            yield []
        except KeyboardInterrupt:
            yield [(position, Response(text="drained"))]
            raise

    answers = Budget.of(None, 9999, {"m": None}, {}).guard("m").stream(send, enumerate([request(1)] * 3))
    assert next(answers) == []
    ((_, response),) = throw_into(answers, KeyboardInterrupt())
    assert response.text == "drained"
    with pytest.raises(KeyboardInterrupt):
        next(answers)


def test_nothing_can_take_more_than_its_upper_bound() -> None:
    text = Request("generate_until", "grüße 你好", generation={"max_gen_toks": 7})
    assert upper_bound(text).input >= len("grüße 你好".encode()) and upper_bound(text).output == 7
    chat = Request("generate_until", (Message("system", "a" * 50), Message("user", "b" * 50)))
    assert upper_bound(chat).input > 100
    long = Request("loglikelihood_rolling", "", "c" * 100)
    assert upper_bound(long).input >= 200


def test_cached_tokens_have_a_price_of_their_own() -> None:
    written = Tokens.of(Response(text="", prompt_tokens=10, completion_tokens=3, reasoning_tokens=2))
    assert written == Tokens(input=10, output=3, reasoning=2)
    assert PRICE.usd(Tokens(1_000_000, 400_000, 100_000)) == pytest.approx(0.6 * 2 + 0.4 * 0.5 + 0.1 * 8)


# -- runs --------------------------------------------------------------------------------------------------------------

SPEECH = '[[tasks]]\nname = "speech"\n[[tasks]]\nname = "colours"\n'


def with_budget(world: World, budget: str, **options: Any) -> Path:
    (world.folder / "prices.toml").write_text("[mine.models]\nstub = { input = 1000.0, output = 1000.0 }\n")
    path = world.manifest(world.stub(chunk=2, **options), tasks=SPEECH)
    path.write_text(f'{path.read_text()}[run]\nprices = "prices.toml"\n{budget}\n')
    return path


@pytest.mark.parametrize(("low", "high"), [("budget_tokens = 60", "budget_tokens = 9999"), ("budget_usd = 0.06", "")])
def test_a_run_stops_at_the_budget_and_goes_on_when_it_is_raised(world: World, low: str, high: str) -> None:
    first = world.run(with_budget(world, low))
    assert first.exit_code is ExitCode.INTERRUPTED
    reader = RunReader(first.directory)
    key = low.split(maxsplit=1)[0]
    assert reader.info()["status"] == "interrupted" and reader.info()["stopped"] == key
    asked = len(world.calls())
    words = interrupted_words(reader, "resume with the same command: lmrun batch m.toml")
    assert f"{40 - asked} requests left to ask" in words
    assert f"raise {key} and resume with the same command: lmrun batch m.toml" in words
    # The chunk that spends the budget is the last one.
    assert 60 <= sum(tokens.total for tokens in reader.tokens().values()) <= 60 + 2 * 20
    reader.close()
    assert 0 < asked < 40

    again = world.run(with_budget(world, low))
    assert again.exit_code is ExitCode.INTERRUPTED and len(world.calls()) == asked

    second = world.run(with_budget(world, high))
    assert complete(second) and second.directory == first.directory
    assert len(world.calls()) == len(set(world.calls())) == 40
    assert world.scores(second) == world.scores(world.run(with_budget(world, ""), fresh=True, cache=False))


@pytest.mark.parametrize("low", ["budget_tokens = 200", "budget_usd = 0.2"])
@pytest.mark.parametrize("in_flight", [1, 4, 64])
def test_a_streaming_run_never_exceeds_its_budget(world: World, low: str, in_flight: int) -> None:
    options = {"streaming": True, "in_flight": in_flight}
    first = world.run(with_budget(world, low, **options))
    assert first.exit_code is ExitCode.INTERRUPTED
    reader = RunReader(first.directory)
    asked, taken = len(world.calls()), reader.tokens()["stub"].total
    assert 0 < asked < 40 and 100 < taken <= 200
    assert reader.unanswered() == 40 - asked, "what was asked is answered"
    # The first task is complete and scored, although the run is not.
    assert [job.status for job in reader.jobs()] == ["scored", "looked_up"]
    reader.close()
    second = world.run(with_budget(world, "", **options))
    assert complete(second) and second.directory == first.directory
    assert len(world.calls()) == len(set(world.calls())) == 40


def test_answers_from_the_cache_cost_nothing(world: World) -> None:
    world.run(with_budget(world, ""))
    second = world.run(with_budget(world, "budget_usd = 0.0001"), fresh=True)
    assert complete(second)
    assert RunReader(second.directory).tokens() == {"stub": Tokens()}


def test_a_budget_in_dollars_needs_a_price(world: World) -> None:
    path = with_budget(world, "budget_usd = 1.0")
    text = path.read_text().replace('backend = "scripted"', 'backend = "openai-chat"')
    path.write_text("\n".join(line for line in text.splitlines() if not line.startswith(("options", "prices"))))
    with pytest.raises(ManifestError) as caught:
        world.run(path)
    (problem,) = caught.value.problems
    assert "no price known for stub: add price" in problem.message
    assert problem.location and problem.location.line == 1
    assert not (world.folder / "runs").exists()


def test_what_errors_took_stays_spent_when_they_are_asked_again(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = ScriptedBackend.answer

    def costly_error(backend: ScriptedBackend, request: Request) -> Response:
        if "colour 3" in str(request.context):
            return Response(error=ResponseError("choice_not_in_top_logprobs", "no"), prompt_tokens=7)
        return whole(backend, request)

    path = with_budget(world, "")
    with monkeypatch.context() as patched:
        patched.setattr(ScriptedBackend, "answer", costly_error)
        first = world.run(path)
    assert first.exit_code is ExitCode.INCOMPLETE
    spent = RunReader(first.directory).tokens()["stub"]
    second = world.run(path)
    assert complete(second) and second.directory == first.directory
    # Four requests failed, and were then answered.
    later = RunReader(second.directory).tokens()["stub"]
    assert later.total > spent.total
    answers = RunReader(world.run(path, fresh=True, cache=False).directory).tokens()["stub"]
    assert later == answers + Tokens(input=4 * 7)


def test_a_server_is_asked_within_the_budget(world: World) -> None:
    with ScriptedServer(Script()) as server:
        tokenizer = server.save_tokenizer(world.folder)
        table = (
            f'name = "s"\nbackend = "openai-completions"\nmodel = "{server.script.model}"\n'
            f'base_url = "{server.base_url}"\ntokenizer = "{tokenizer}"\nprice = {{ input = 2.0, output = 10.0 }}'
        )
        path = world.manifest(table, tasks=SPEECH)
        plan = build_plan(manifest := open_manifest(str(path), Overrides()), open_sources(manifest))
        planned = forecast(plan, world.folder / "none.db").total()
        text = path.read_text()
        path.write_text(f"{text}[run]\nbudget_usd = {planned.usd_low}\n")
        first = world.run(path)
        assert first.exit_code is ExitCode.INTERRUPTED
        reader = RunReader(first.directory)
        usage = usage_by_model(reader)["s"]
        assert usage.usd and 0 < usage.usd <= (planned.usd_low or 0)
        reader.close()

        path.write_text(text)
        second = world.run(path)
        assert complete(second) and second.directory == first.directory
        reader = RunReader(second.directory)
        usage = usage_by_model(reader)["s"]
        reader.close()
    assert usage.tokens.input == planned.prompt_tokens
    assert usage.usd and (planned.usd_low or 0) < usage.usd <= (planned.usd_high or 0)
