"""Where prices come from, and which one wins."""

from __future__ import annotations

import re
import textwrap
from pathlib import Path
from typing import Any

import pytest

from lmrun.backends.base import ModelSpec
from lmrun.engine.price import FREE
from lmrun.engine.prices import Prices
from lmrun.errors import ManifestError
from lmrun.store.records import Tokens


def spec(model: str, backend: str = "openai-chat", **options: Any) -> ModelSpec:
    return ModelSpec("m", backend, model, options)


@pytest.fixture(scope="module")
def bundled() -> Prices:
    return Prices.open(None)


def test_every_bundled_price_is_dated_and_sourced(bundled: Prices) -> None:
    assert {provider.host for provider in bundled.bundled} >= {"api.openai.com", "api.anthropic.com"}
    for provider in bundled.bundled:
        assert provider.source and provider.checked and provider.models
        for price in provider.models.values():
            assert 0 < price.input <= price.output
            assert price.cached is None or price.cached < price.input


@pytest.mark.parametrize("model", ["gpt-4.1", "gpt-4.1-2025-04-14"])
def test_a_dated_version_costs_what_its_model_costs(bundled: Prices, model: str) -> None:
    price = bundled.of(spec(model))
    assert price and (price.input, price.cached, price.output) == (2.0, 0.5, 8.0)
    assert "openai.com" in price.source and "2026" in price.source


def test_the_batch_api_is_cheaper(bundled: Prices) -> None:
    live, batch = bundled.of(spec("gpt-4.1")), bundled.of(spec("gpt-4.1", mode="batch"))
    tokens = Tokens(1000, 100, 1000)
    assert live and batch and batch.usd(tokens) == pytest.approx(live.usd(tokens) / 2)


@pytest.mark.parametrize(
    ("base_url", "expected"),
    [
        ("https://api.openai.com/v1", 2.0),
        ("http://127.0.0.1:8000/v1", 0.0),
        ("http://[::1]:8000/v1", 0.0),
        ("http://localhost/v1", 0.0),
        ("https://api.openai.com.example.org/v1", None),
        ("http://10.0.0.5:8000/v1", None),
    ],
)
def test_a_price_holds_only_where_it_is_charged(bundled: Prices, base_url: str, expected: float | None) -> None:
    price = bundled.of(spec("gpt-4.1", base_url=base_url))
    assert (price.input if price else None) == expected


def test_models_of_this_machine_cost_nothing_and_unknown_ones_have_no_price(bundled: Prices) -> None:
    assert bundled.of(spec("x", "hf")) is FREE and bundled.of(spec("x", "scripted")) is FREE
    assert bundled.of(spec("gpt-4.1", "some-plugin")) is None
    assert bundled.of(spec("gpt-99")) is None
    assert bundled.of(spec("claude-haiku-4-5", "openai-chat")) is None


def test_the_models_own_price_wins_over_the_users_table_and_that_over_ours(tmp_path: Path) -> None:
    file = tmp_path / "p.toml"
    file.write_text('[mine.models]\n"gpt-4*" = { input = 7, output = 9 }\n"gpt-4.1-mini" = { input = 5, output = 6 }\n')
    prices = Prices.open(file)
    own, exact = prices.of(spec("gpt-4.1")), prices.of(spec("gpt-4.1-mini-2025-04-14"))
    stated = prices.of(spec("gpt-4.1", price={"input": 1.0, "output": 3.0, "batch": 0.25}, mode="batch"))
    assert own and (own.input, own.cached, own.output, own.source) == (7.0, 7.0, 9.0, str(file))
    assert exact and exact.input == 5.0
    assert stated and (stated.input, stated.cached, stated.output) == (0.25, 0.25, 0.75)
    assert prices.of(spec("gpt-5-mini")) == Prices.open(None).of(spec("gpt-5-mini"))


def test_the_file_in_the_documentation_is_one(tmp_path: Path) -> None:
    page = (Path(__file__).parents[2] / "docs" / "costs.md").read_text()
    (text,) = [block for block in re.findall(r"^ *```toml\n(.*?)^ *```", page, re.S | re.M) if "[example]" in block]
    file = tmp_path / "prices.toml"
    file.write_text(textwrap.dedent(text))
    prices = Prices.open(file)
    price = prices.of(spec("my-small-one", base_url="https://llm.example.org/v1"))
    assert price and price.input == 0.1 and "2026-11-01" in price.source
    assert prices.of(spec("my-small-one")) is None


@pytest.mark.parametrize(
    ("text", "place", "words"),
    [
        ('[mine.models]\na = { input = "1", output = 2 }\n', "2:15", "mine.models.a.input: a number, 0 or more"),
        ("[mine.models]\na = { input = 1 }\n", "2:5", "mine.models.a.output: field required"),
        ("[mine]\nhots = 'x'\n[mine.models]\n", "2:8", "mine.hots"),
        ("a = [\n", "", "not valid TOML"),
    ],
)
def test_a_wrong_table_is_shown_where_it_is_wrong(tmp_path: Path, text: str, place: str, words: str) -> None:
    file = tmp_path / "p.toml"
    file.write_text(text)
    with pytest.raises(ManifestError) as caught:
        Prices.open(file)
    (problem,) = caught.value.problems
    assert words in problem.message and place in str(problem.location)
