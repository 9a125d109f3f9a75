"""Prompts continued below a shared stem against prompts continued alone."""

from __future__ import annotations

import random
from array import array
from typing import Any

import pytest

from lmrun.backends.base import ModelSpec
from lmrun.backends.generation import Generation
from lmrun.backends.hf import HfBackend
from lmrun.backends.hf.generating import Generator, PromptRow
from lmrun.backends.hf.tree import generator as module
from lmrun.backends.hf.tree.generator import TreeGenerator, clusters
from lmrun.backends.hf.tree.shared import Unshareable
from lmrun.backends.hf.tree.slots import Slots
from lmrun.requests import Request
from tests.backends import make
from tests.backends.test_scoring import answers, words
from tests.backends.tree import architectures
from tests.backends.tree.clock import Clock
from tests.backends.tree.test_scorer import scorer_of

torch = pytest.importorskip("torch")

N_NEW = 12


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return make.tokenizer("bytes")


def generator_of(model: Any, tokenizer: Any, *, pack_tokens: int = 2048, slot_tokens: int = 4096) -> TreeGenerator:
    scorer = scorer_of(model, pack_tokens)
    # The end of a text of these models is no token of theirs.
    model.generation_config.eos_token_id = None
    made = Generator(model, tokenizer, model.generate, model.device, 4)
    parts = (scorer.model, made, scorer.plain, scorer.stems)
    return TreeGenerator(*parts, architectures.POSITIONS, pack_tokens, slot_tokens)


def made_up_prompts(n: int = 10, header: int = 30) -> list[PromptRow]:
    rng = random.Random(n)
    stem = [rng.randrange(2, 390) for _ in range(header)]
    tails = [[rng.randrange(2, 390) for _ in range(rng.randrange(1, 30))] for _ in range(n)]
    return [PromptRow(i, array("i", stem + tail), f"key {i}") for i, tail in enumerate(tails)]


def alone(model: Any, tokenizer: Any, prompt: PromptRow, n: int) -> str:
    """Greedy tokens one by one, without cache."""
    tokens = list(prompt.inputs)
    with torch.inference_mode():
        while len(tokens) < len(prompt.inputs) + n and tokens[-1] != tokenizer.eos_token_id:
            tokens.append(int(model(torch.tensor([tokens])).logits[0, -1].argmax()))
    text: str = tokenizer.decode(tokens[len(prompt.inputs) :], skip_special_tokens=True)
    return text


def continued(generator: TreeGenerator, asked: list[tuple[PromptRow, Generation]]) -> dict[int, str]:
    found: dict[int, str] = {}
    for chunk in generator.answers(asked, frozenset()):
        for prompt, answer, _ in chunk:
            assert prompt.owner not in found
            assert answer.error is None
            found[prompt.owner] = answer.text
    return found


@pytest.mark.parametrize("name", architectures.SHARING)
def test_answers_are_those_of_prompts_continued_alone(name: str, tokenizer: Any) -> None:
    model = architectures.make(name)
    prompts = made_up_prompts()
    lengths = [1 + i % N_NEW for i in range(len(prompts))]
    expected = {p.owner: alone(model, tokenizer, p, n) for p, n in zip(prompts, lengths, strict=True)}
    # Five slots for ten rows, and prompts that are computed in several packs.
    generator = generator_of(model, tokenizer, pack_tokens=25, slot_tokens=5 * 45)
    asked = [(p, Generation((), n, sample=False)) for p, n in zip(prompts, lengths, strict=True)]
    assert continued(generator, asked) == expected
    assert generator.proven
    assert generator.model.forwarded == generator.distinct + generator.stems.distinct
    assert 0 < generator.model.decoded <= sum(lengths) - len(lengths)


def test_prompts_without_a_common_beginning_are_continued_too(tokenizer: Any) -> None:
    model = architectures.make("llama")
    prompts = made_up_prompts(6, header=0)
    asked = [(p, Generation((), 5, sample=False)) for p in prompts]
    expected = {p.owner: alone(model, tokenizer, p, 5) for p in prompts}
    assert continued(generator_of(model, tokenizer), asked) == expected


def test_a_prompt_that_is_asked_several_times_is_computed_once(tokenizer: Any) -> None:
    prompts = [PromptRow(i, made_up_prompts(3)[i % 3].inputs, f"key {i}") for i in range(9)]
    generator = generator_of(architectures.make("llama"), tokenizer)
    found = continued(generator, [(p, Generation((), 6, sample=True)) for p in prompts])
    assert len(set(found.values())) > 3
    distinct = generator.distinct + generator.stems.distinct
    assert generator.model.forwarded == distinct < sum(len(p.inputs) for p in prompts) / 3


def test_beginnings_that_many_share_are_stems_of_their_own() -> None:
    greedy = Generation((), 4, sample=False)
    first, second = made_up_prompts(9), [PromptRow(20 + p.owner, p.inputs, p.key) for p in made_up_prompts(8)]
    few = [PromptRow(40 + p.owner, p.inputs, p.key) for p in made_up_prompts(2)]
    found = [(stem, {p.owner for p, _ in rows}) for stem, rows in clusters([(p, greedy) for p in first + second + few])]
    assert found == [
        (30, {p.owner for p in first}),
        (30, {p.owner for p in second}),
        (0, {p.owner for p in few}),
    ] or found == [(30, {p.owner for p in second}), (30, {p.owner for p in first}), (0, {p.owner for p in few})]
    same = [PromptRow(i, first[0].inputs, "") for i in range(3)]
    assert [stem for stem, _ in clusters([(p, greedy) for p in same])] == [len(first[0].inputs) - 1]


@pytest.mark.parametrize("error", [torch.cuda.OutOfMemoryError("CUDA out of memory"), MemoryError()])
def test_fewer_rows_at_once_when_memory_runs_out(
    error: Exception, tokenizer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = architectures.make("gpt2")
    asked = [(p, Generation((), 8, sample=False)) for p in made_up_prompts()]
    whole = continued(generator_of(model, tokenizer), asked)
    append, failed = Slots.append, []

    def limited(self: Slots, layer: int, places: Any, key: Any, value: Any) -> Any:
        if len(places) > 3:
            failed.append(len(places))
            raise error
        return append(self, layer, places, key, value)

    monkeypatch.setattr(Slots, "append", limited)
    assert continued(generator_of(model, tokenizer), asked) == whole
    assert failed == [10, 5]
    monkeypatch.setattr(Slots, "append", lambda *_: (_ for _ in ()).throw(error))
    with pytest.raises(Unshareable, match="memory"):
        continued(generator_of(model, tokenizer), asked)


def test_other_numbers_are_told_from_the_first_answer(tokenizer: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    depth = module._Running.depth.fget  # type: ignore[attr-defined]
    monkeypatch.setattr(module._Running, "depth", property(lambda self: depth(self) - 1))
    generator = generator_of(architectures.make("llama"), tokenizer)
    with pytest.raises(Unshareable, match="log-likelihood"):
        next(generator.answers([(p, Generation((), 8, sample=False)) for p in made_up_prompts()], frozenset()))


def test_parameters_that_only_transformers_knows(tokenizer: Any) -> None:
    model = architectures.make("llama")
    generator = generator_of(model, tokenizer)
    assert generator.can(Generation((), 4, sample=True, options={"top_p": 0.5}))
    assert not generator.can(Generation((), 4, sample=False, options={"repetition_penalty": 1.2}))
    assert not generator.can(Generation((), 4, sample=True, options={"temperature": -1.0}))
    model.generation_config.repetition_penalty = 1.3
    assert not generator.can(Generation((), 4, sample=False))


@pytest.mark.parametrize("options", [{}, {"temperature": 0.8, "do_sample": True, "top_k": 20}])
def test_shared_and_exact_answers_are_the_same(folders: Any, options: dict[str, Any]) -> None:
    rng = random.Random(3)
    header = words(rng, 25)
    requests = [
        Request(
            "generate_until",
            f"{header} {words(rng, 1 + i)}",
            generation={"until": [" the", "\n"], "max_gen_toks": 10 + i % 3, **options},
            seed=i,
        )
        for i in range(12)
    ]

    def found(**settings: Any) -> Any:
        backend = HfBackend(ModelSpec("m", "hf", str(folders("llama", "bytes")), {"device": "cpu", **settings}))
        backend.load()
        return backend, answers(backend, requests)

    shared, texts = found()
    assert texts == found(exact=True)[1]
    facts = shared.usage().facts
    assert facts["prefix_sharing"] == "on"
    assert 0 < facts["forwarded_tokens"] == facts["distinct_tokens"]
    assert facts["decoded_tokens"] > 0
    for chunk in shared.run(requests):
        rest = answers(shared, requests, frozenset(i for i, _ in chunk))
        assert {**dict(chunk), **rest} == texts
        break


def test_it_says_how_long_the_rest_takes(tokenizer: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A step takes a second here, and no answer ends before its limit."""
    generator = generator_of(architectures.make("llama"), tokenizer)
    clock, step = Clock(), module._Stream._step
    monkeypatch.setattr("lmrun.backends.hf.tree.outlook.time", clock)
    monkeypatch.setattr(module, "_GLANCE", -1.0)
    told: list[tuple[float | None, int]] = []

    def slow(stream: Any) -> Any:
        told.append((generator.outlook.rest, stream.active[0].left))
        clock.now += 1
        return step(stream)

    monkeypatch.setattr(module._Stream, "_step", slow)
    continued(generator, [(p, Generation((), N_NEW, sample=False)) for p in made_up_prompts()])
    assert told[0] == (None, N_NEW - 1)
    assert told[1:] == [(n, n) for n in range(N_NEW - 2, 0, -1)]
    assert generator.outlook.rest == 0.0
