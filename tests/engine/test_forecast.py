"""What a plan says it would ask and cost, held against what a run then takes."""

from __future__ import annotations

import json
import tracemalloc
from pathlib import Path

import pytest

from lmrun.engine.forecast import COUNTED, Forecast, budget_words, forecast
from lmrun.engine.inputs import Overrides, open_manifest, open_sources
from lmrun.engine.plan import Plan, build_plan
from lmrun.store.reader import RunReader
from tests.engine.conftest import World

BOTH = '[[tasks]]\nname = ["colours", "speech"]\n'


def planned(world: World, manifest: Path) -> Plan:
    loaded = open_manifest(str(manifest), Overrides(runs_dir=world.folder / "runs"))
    return build_plan(loaded, open_sources(loaded))


def looked(world: World, manifest: Path) -> Forecast:
    plan = planned(world, manifest)
    return forecast(plan, plan.manifest.run.cache)


def priced(world: World, manifest: Path, run: str = "") -> Path:
    (world.folder / "p.toml").write_text('[mine.models]\n"*" = { input = 1.0, output = 10.0 }\n')
    manifest.write_text(f'{manifest.read_text()}[run]\nprices = "p.toml"\n{run}')
    return manifest


def test_what_is_counted_is_what_a_run_takes(world: World) -> None:
    path = world.manifest('name = "demo"\nbackend = "hf"\nmodel = "bundled:demo"', tasks=BOTH)
    found = looked(world, path)
    outcome = world.run(path)
    tokens = RunReader(outcome.directory).tokens()["demo"]
    assert found.models[0].method == COUNTED
    colours, speech = found.jobs
    # What a model scores on this machine stands among the tokens of its output.
    assert colours.prompt_tokens + speech.prompt_tokens <= tokens.total
    assert tokens.total <= colours.prompt_tokens + speech.prompt_tokens + speech.new_tokens
    assert (colours.new_tokens, speech.new_tokens) == (0, 10 * 8)


def test_costs_go_from_the_prompts_to_the_longest_answers(world: World) -> None:
    path = priced(world, world.manifest(world.stub(), tasks=BOTH))
    colours, speech = looked(world, path).jobs
    assert colours.usd_low == colours.usd_high == pytest.approx(colours.prompt_tokens / 1e6)
    assert speech.usd_low == pytest.approx(speech.prompt_tokens / 1e6)
    assert speech.usd_high == pytest.approx((speech.prompt_tokens + 10 * 80) / 1e6)
    total = looked(world, path).total()
    assert total.usd_high == pytest.approx((colours.usd_high or 0) + (speech.usd_high or 0))


def test_what_the_cache_holds_costs_nothing(world: World) -> None:
    path = priced(world, world.manifest(world.stub(), tasks=BOTH))
    world.run(path)
    total = looked(world, path).total()
    assert (total.cached, total.to_ask, total.prompt_tokens, total.usd_high) == (40, 0, 0, 0.0)


def test_a_missing_price_leaves_the_total_open(world: World) -> None:
    path = world.manifest('name = "far"\nbackend = "openai-chat"\nmodel = "nobody-knows"', world.stub(), tasks=BOTH)
    found = looked(world, path)
    assert [model.price is None for model in found.models] == [True, False]
    assert found.total().usd_high is None and found.jobs[-1].usd_high == 0.0


@pytest.mark.parametrize(
    ("budget", "words"),
    [
        ("budget_tokens = 100", "will not be enough, the prompts alone take more"),
        ("budget_tokens = 250", "may not be enough"),
        ("budget_tokens = 9999", "is enough"),
        ("budget_usd = 0.0001", "will not be enough"),
        ("budget_usd = 0.0005", "may not be enough"),
        ("budget_usd = 1.0", "is enough"),
    ],
)
def test_a_budget_is_judged(world: World, budget: str, words: str) -> None:
    path = priced(world, world.manifest(world.stub(), tasks=BOTH), budget)
    plan = planned(world, path)
    (line,) = budget_words(plan, forecast(plan, plan.manifest.run.cache))
    assert words in line and "already" not in line


def test_what_an_unfinished_run_has_spent_counts(world: World) -> None:
    path = priced(world, world.manifest(world.stub(chunk=1), tasks=BOTH), "budget_tokens = 50\n")
    world.run(path)
    plan = planned(world, path)
    (line,) = budget_words(plan, forecast(plan, plan.manifest.run.cache))
    assert "of them spent already" in line


def test_memory_does_not_grow_with_the_requests(world: World) -> None:
    def peak(docs: int) -> int:
        file = world.folder / "tasks" / "colours.jsonl"
        lines = (json.dumps({"question": f"colour {i}? " + "x" * 500, "answer": 0}) + "\n" for i in range(docs))
        file.write_text("".join(lines))
        plan = planned(world, world.manifest(world.stub()))
        tracemalloc.start()
        assert forecast(plan, plan.manifest.run.cache).total().distinct == 3 * docs
        size = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return size

    small, large = peak(1_500), peak(6_000)
    assert large < small * 1.5
