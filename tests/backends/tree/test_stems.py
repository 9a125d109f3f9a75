"""What prompts begin with, shared by jobs that come one after the other."""

from __future__ import annotations

import random
from array import array
from collections.abc import Sequence
from typing import Any

import pytest

from lmrun.backends.base import ModelSpec
from lmrun.backends.generation import Generation
from lmrun.backends.hf import HfBackend
from lmrun.backends.hf.generating import PromptRow
from lmrun.backends.hf.plan import Member, Row
from lmrun.backends.hf.tree.packed import Path
from lmrun.backends.hf.tree.scorer import TreeScorer
from lmrun.backends.hf.tree.shared import Unshareable
from lmrun.requests import Request
from tests.backends import make
from tests.backends.tree import architectures
from tests.backends.tree.test_generator import continued, generator_of
from tests.backends.tree.test_scorer import alone, assert_alike, scored, scorer_of

torch = pytest.importorskip("torch")


def drawn(seed: int, n: int) -> list[int]:
    rng = random.Random(seed)
    return [rng.randrange(2, 390) for _ in range(n)]


def job(header: Sequence[int], seed: int, n: int = 6) -> list[Row]:
    """Docs of one header, three tokens scored of each."""
    rows = []
    for i in range(n):
        tokens = [*header, *drawn(seed + i, 9)]
        rows.append(Row(array("i", tokens[:-1]), (Member(i, 0, array("i", tokens[-3:])),)))
    return rows


@pytest.mark.parametrize("name", ["llama", "gemma2", "gpt2", "bloom"])
def test_jobs_that_begin_alike_compute_it_once_and_to_the_same_bits(name: str) -> None:
    header = drawn(0, 50)
    first, second = job(header, 100), job(header, 200)
    scorer = scorer_of(architectures.make(name), 64)
    scored(scorer, first)
    before = scorer.model.forwarded
    found = scored(scorer, second)
    assert scorer.model.forwarded - before == len(header) % 16 + 6 * 8
    assert_alike(found, alone(scorer, second))
    fresh = scored(scorer_of(scorer.model.model, 64), second)
    assert {i: score.logprob for i, score in found.items()} == {i: score.logprob for i, score in fresh.items()}


def test_answers_begin_where_scores_began() -> None:
    header = drawn(0, 50)
    generator = generator_of(architectures.make("llama"), make.tokenizer("bytes"), pack_tokens=64)
    scorer = TreeScorer(generator.model, generator.plain, generator.stems, generator.max_length, 64)
    scored(scorer, job(header, 100))
    before = generator.model.forwarded
    prompts = [PromptRow(i, array("i", [*header, *drawn(300 + i, 7)]), f"key {i}") for i in range(4)]
    wanted = Generation(until=(), max_new_tokens=3, sample=False, options={})
    answers = continued(generator, [(prompt, wanted) for prompt in prompts])
    assert generator.model.forwarded - before == len(header) % 16 + 4 * 7
    other = generator_of(generator.model.model, make.tokenizer("bytes"), pack_tokens=64)
    assert answers == continued(other, [(prompt, wanted) for prompt in prompts])


def test_what_was_not_needed_for_longest_makes_room() -> None:
    scorer = scorer_of(architectures.make("llama"), 64)
    kept = scorer.stems
    kept.most = 5 * 16
    one, other, third = (array("i", drawn(seed, 32)) for seed in range(3))

    def forwarded(header: array[int]) -> int:
        before = scorer.model.forwarded
        kept.put(Path(120), header, proven=True)
        return scorer.model.forwarded - before

    assert [forwarded(header) for header in (one, other, one, third)] == [32, 32, 0, 32]
    assert [forwarded(header) for header in (one, third)] == [0, 0]
    assert forwarded(other) == 16  # its end made room first
    assert forwarded(one[:20]) == 4
    assert kept.distinct == 3 * 32 + 4
    long = array("i", drawn(4, 100))
    assert [forwarded(long), forwarded(long)] == [100, 20]


def test_no_row_is_left_without_a_token_to_compute() -> None:
    scorer = scorer_of(architectures.make("llama"), 64)
    header = drawn(0, 30)
    whole = [Row(array("i", header), (Member(0, 0, array("i", [7])),))]
    longer = [Row(array("i", [*header, 5]), (Member(1, 0, array("i", [9])),))]
    rolling = [Row(array("i", [*header, 6]), (Member(2, 0, array("i", [*header[1:], 6, 8])),))]
    for rows in (whole, whole + longer, whole + longer + rolling):
        assert_alike(scored(scorer, rows), alone(scorer, rows))


@pytest.mark.parametrize("fits", [33, 0])
def test_stems_are_computed_in_parts_when_memory_runs_out(fits: int, monkeypatch: pytest.MonkeyPatch) -> None:
    scorer = scorer_of(architectures.make("llama"), 128)
    rows = job(drawn(0, 100), 100)
    expected = scored(scorer, rows)
    hidden = type(scorer.model).hidden

    def short(self: Any, frame: Any, tokens: Sequence[int]) -> Any:
        if len(tokens) > fits:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory")
        return hidden(self, frame, tokens)

    monkeypatch.setattr(type(scorer.model), "hidden", short)
    scorer.stems.clear()
    if fits:
        assert_alike(scored(scorer, rows), expected)
    else:
        with pytest.raises(Unshareable, match="memory is too short"):
            scored(scorer, rows)


def test_a_backend_computes_the_header_of_two_tasks_once(folders: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lmrun.backends.hf.loaded._CPU_CHUNK", 16)
    backend = HfBackend(ModelSpec("m", "hf", str(folders("llama", "bytes")), {"device": "cpu"}))
    backend.load()
    header = "".join(f"Question {i}: how much is {i} and {i}?\nAnswer: {2 * i}\n\n" for i in range(3))
    scores = [
        Request("loglikelihood", f"{header}Question: {doc}?\nAnswer:", f" {choice}")
        for doc in ("one", "two")
        for choice in ("many things", "few")
    ]
    texts = [
        Request("generate_until", f"{header}Task: {doc}", generation={"until": ["\n"], "max_gen_toks": 3})
        for doc in ("red", "blue")
    ]
    forwarded = []
    for requests in (scores, scores[::-1], texts):
        list(backend.run(requests))
        forwarded.append(backend.usage().facts["forwarded_tokens"])
    n_header = len(make.tokenizer("bytes")(header)["input_ids"])
    assert forwarded[0] > n_header
    rest = forwarded[0] - n_header + 16
    assert forwarded[1] - forwarded[0] <= rest < n_header
    assert forwarded[2] - forwarded[1] <= 2 * len("Task: blue") + 16 < n_header
    backend.close()
