"""Scores with shared prefixes against scores without, on many architectures."""

from __future__ import annotations

import random
from array import array
from collections.abc import Iterator
from itertools import islice
from typing import Any

import pytest

from lmrun.backends.base import ModelSpec
from lmrun.backends.hf import HfBackend
from lmrun.backends.hf.plan import CPU_ROW_MULTIPLE, Member, Row, merge_rows, padded_length
from lmrun.backends.hf.scoring import Score, Scorer, keeps_logits
from lmrun.backends.hf.tree import attention, packed
from lmrun.backends.hf.tree.pack import Pack
from lmrun.backends.hf.tree.plan import Tree
from lmrun.backends.hf.tree.scorer import Found, TreeScorer, _Walk
from lmrun.backends.hf.tree.shared import SharingModel, Unshareable, obstacle
from lmrun.backends.hf.tree.stems import Stems
from lmrun.requests import Request
from tests.backends.test_scoring import answers, pairs, texts
from tests.backends.tree import architectures
from tests.backends.tree.clock import Clock

torch = pytest.importorskip("torch")


def made_up_rows() -> list[Row]:
    """Docs below one header, and some without; choices of several tokens and of one."""
    rng = random.Random(0)

    def tokens(n: int) -> list[int]:
        return [rng.randrange(2, 390) for _ in range(n)]

    header = tokens(40)
    rows: list[Row] = []
    for doc in range(12):
        context = (header if doc % 3 else tokens(30)) + tokens(rng.randrange(3, 15))
        for length in (1, 1, 3, 5):
            end = tokens(length)
            rows.append(Row(array("i", (context + end)[:-1]), (Member(len(rows), 0, array("i", end)),)))
    return merge_rows(rows)


def scorer_of(model: Any, pack_tokens: int) -> TreeScorer:
    plain = Scorer(model.__call__, model.device, keeps_logits(model), CPU_ROW_MULTIPLE)
    shared = SharingModel.of(model)
    return TreeScorer(shared, plain, Stems(shared, pack_tokens, 16, 4096), architectures.POSITIONS, pack_tokens)


def scored(scorer: TreeScorer, rows: list[Row], answered: frozenset[int] = frozenset()) -> dict[int, Score]:
    found = [score for scores in scorer.scores(rows, answered) for score in scores]
    by_owner = {score.member.owner: score for score in found}
    assert len(by_owner) == len(found)
    return by_owner


def alone(scorer: TreeScorer, rows: list[Row]) -> dict[int, Score]:
    found = [s for row in rows for s in scorer.plain.score([row], padded_length(len(row.inputs), scorer.max_length))]
    return {score.member.owner: score for score in found}


def assert_alike(found: dict[int, Score], expected: dict[int, Score]) -> None:
    assert found.keys() == expected.keys()
    for owner, score in expected.items():
        assert found[owner].logprob == pytest.approx(score.logprob, abs=5e-5)
        assert found[owner].is_greedy is score.is_greedy


@pytest.mark.parametrize("name", [*architectures.SHARING, *architectures.MASKED])
def test_scores_are_those_of_rows_scored_alone(name: str) -> None:
    model = architectures.make(name)
    assert obstacle(model) is None
    rows = made_up_rows()
    for pack_tokens in (7, 2048):
        scorer = scorer_of(model, pack_tokens)
        assert_alike(scored(scorer, rows), alone(scorer, rows))
        assert scorer.model.forwarded == scorer.distinct < sum(len(row.inputs) for row in rows) / 2


@pytest.mark.parametrize("name", ["llama", "gemma2", "gpt_oss", "gpt2"])
def test_one_masked_call_gives_the_same(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What runs on a GPU, run here."""
    monkeypatch.setattr(packed, "_cascade", packed._together)
    rows = made_up_rows()
    scorer = scorer_of(architectures.make(name), 64)
    assert_alike(scored(scorer, rows), alone(scorer, rows))


def test_pieces_too_large_for_a_box_are_computed_by_themselves() -> None:
    rng = random.Random(1)
    model = architectures.make("llama")
    header = [rng.randrange(2, 390) for _ in range(300)]
    rows = [Row(array("i", [*header, 5 + i, 9, 11]), (Member(i, 0, array("i", [9, 11, 7])),)) for i in range(3)]
    scorer = scorer_of(model, 1000)
    scorer.max_length = 400
    assert_alike(scored(scorer, rows), alone(scorer, rows))


def test_it_says_how_long_the_rest_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    """A token takes a hundredth of a second here, but twice as long in the first pack, which tells of no other."""
    scorer = scorer_of(architectures.make("llama"), 24)
    clock, run = Clock(), _Walk.run
    monkeypatch.setattr("lmrun.backends.hf.tree.outlook.time", clock)

    def slow(walk: _Walk, pack: Pack) -> Found:
        clock.now += pack.size / 100 * (1 if walk.scorer.model.forwarded else 2)
        return run(walk, pack)

    monkeypatch.setattr(_Walk, "run", slow)
    told = [(scorer.outlook.rest, scorer.model.forwarded) for _ in scorer.scores(made_up_rows(), frozenset())]
    left = [scorer.model.forwarded - n for _, n in told]
    assert len(told) > 3 and left[-1] == 0
    assert [rest for rest, _ in told] == [pytest.approx(n / 100) for n in left]


def test_packs_can_begin_small_and_give_the_same() -> None:
    rows = made_up_rows()
    scorer = scorer_of(architectures.make("llama"), 64)
    scorer.first_tokens = 8
    sizes = [pack.size for pack in Tree.of(rows, 64, 0, 8).plan]
    assert sizes[0] < 60 and sizes[1] <= 2 * sizes[0] and max(sizes) <= 64
    assert_alike(scored(scorer, rows), alone(scorer, rows))


@pytest.mark.parametrize("done", [2, 5])
def test_a_resumed_job_computes_hardly_more_than_what_is_left(done: int) -> None:
    rows = made_up_rows()
    whole, first, second = (scorer_of(architectures.make("llama"), 128) for _ in range(3))
    expected = scored(whole, rows)
    chunks = islice(first.scores(rows, frozenset()), done)
    found = {score.member.owner: score for scores in chunks for score in scores}
    found |= scored(second, rows, frozenset(found))
    assert found == expected, "to the last bit"
    assert first.model.forwarded + second.model.forwarded <= whole.model.forwarded + 40 + 128, "the header, and a pack"


@pytest.mark.parametrize(("others", "probed"), [(38, 38), (20, 40 + 20)])
def test_one_request_is_checked_where_it_is_about_as_long_as_the_longest(others: int, probed: int) -> None:
    rng = random.Random(2)
    rows = []
    for i, length in enumerate((others, 40, others)):
        inputs = array("i", [rng.randrange(2, 390) for _ in range(length)])
        rows.append(Row(inputs, (Member(i, 0, array("i", [5])),)))
    scorer = scorer_of(architectures.make("llama"), 200)
    assert_alike(scored(scorer, rows), alone(scorer, rows))
    assert scorer.model.probed == probed


@pytest.mark.parametrize(
    ("name", "narrow"),
    [("llama", True), ("mixtral", True), ("gpt_oss", True), ("gpt2", True), ("gpt_neox", True), ("bloom", False)],
)
def test_the_last_layer_computes_what_is_read(name: str, narrow: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = made_up_rows()
    scorer = scorer_of(architectures.make(name), 64)
    scorer.proven = architectures.POSITIONS
    own, fed = scorer.model.last.forward, []

    def counted(states: Any, *more: Any) -> Any:
        fed.append(states.shape[1])
        return own(states, *more)

    monkeypatch.setattr(scorer.model.last, "forward", counted)
    found = scored(scorer, rows)
    assert (sum(fed) < 0.8 * scorer.model.forwarded) is narrow
    assert_alike(found, alone(scorer, rows))


def test_half_precision_stays_within_its_rounding() -> None:
    model = architectures.make("llama").to(torch.bfloat16)
    rows = made_up_rows()
    scorer = scorer_of(model, 64)
    found, expected = scored(scorer, rows), alone(scorer, rows)
    for owner, score in expected.items():
        assert found[owner].logprob == pytest.approx(score.logprob, abs=scorer.model.tolerance(5))


@pytest.mark.parametrize("name", architectures.ALONE)
def test_other_models_say_why_not(name: str) -> None:
    reason = obstacle(architectures.make(name))
    assert reason


def test_a_model_whose_numbers_differ_is_told_from_its_first_pack(monkeypatch: pytest.MonkeyPatch) -> None:
    model = architectures.make("mistral")
    attend = attention.tree_attention

    def blind(*inputs: Any, sliding_window: int | None = None, **options: Any) -> Any:
        return attend(*inputs, **options)

    monkeypatch.setattr("lmrun.backends.hf.tree.shared.tree_attention", blind)
    with pytest.raises(Unshareable, match=r"with shared prefixes and .* without"):
        next(scorer_of(model, 64).scores(made_up_rows(), frozenset()))


def test_a_model_that_refuses_is_scored_without_sharing(folders: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    requests = pairs(3)
    backend = HfBackend(ModelSpec("m", "hf", str(folders("llama")), {"device": "cpu"}))
    backend.load()
    whole = answers(backend, requests)
    other = HfBackend(ModelSpec("m", "hf", str(folders("llama")), {"device": "cpu"}))
    other.load()
    assert other._loaded is not None
    decoder = other._loaded.model.get_decoder()
    forward = decoder.forward

    def refusing(*inputs: Any, position_ids: Any = None, **options: Any) -> Any:
        if position_ids is not None:
            raise TypeError("an unexpected keyword")
        return forward(*inputs, **options)

    monkeypatch.setattr(decoder, "forward", refusing)
    assert answers(other, requests).keys() == whole.keys()
    assert "unexpected keyword" in other.usage().facts["prefix_sharing"]


def test_what_is_answered_is_neither_scored_nor_counted_again() -> None:
    rows = made_up_rows()
    model = architectures.make("llama")
    whole = scored(scorer_of(model, 50), rows)
    some = frozenset(range(0, len(whole), 2))
    assert scored(scorer_of(model, 50), rows, some) == {i: s for i, s in whole.items() if i not in some}
    resumed = scorer_of(model, 50)
    assert scored(resumed, rows, frozenset(whole)) == {}
    assert resumed.model.forwarded == 0


def test_a_resumed_walk_gives_the_same_bits_wherever_it_was_interrupted() -> None:
    rows = made_up_rows()
    model = architectures.make("llama")
    chunks = list(scorer_of(model, 40).scores(rows, frozenset()))
    whole = {score.member.owner: score for scores in chunks for score in scores}
    for done in range(1, len(chunks)):
        answered = frozenset(score.member.owner for scores in chunks[:done] for score in scores)
        found = scored(scorer_of(model, 40), rows, answered)
        assert found == {i: score for i, score in whole.items() if i not in answered}


@pytest.mark.parametrize("error", [torch.cuda.OutOfMemoryError("CUDA out of memory"), MemoryError()])
def test_packs_are_split_when_memory_runs_out(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = made_up_rows()
    scorer = scorer_of(architectures.make("gpt_neox"), 500)
    whole = scored(scorer, rows)
    failed: list[int] = []
    hidden = SharingModel.hidden

    def limited(self: SharingModel, frame: Any, tokens: Any) -> Any:
        found = hidden(self, frame, tokens)
        if len(tokens) > 100:
            failed.append(len(tokens))
            raise error
        return found

    monkeypatch.setattr(SharingModel, "hidden", limited)
    assert_alike(scored(scorer, rows), whole)
    assert failed[0] == scorer.distinct // 2  # the tree of both calls is the same
    assert scorer.most is not None
    assert scorer.most <= 100
    failed.clear()
    assert_alike(scored(scorer, rows), whole)
    assert not failed


def test_a_run_goes_on_without_sharing_when_even_little_does_not_fit(
    folders: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    requests = pairs(6)
    backend = HfBackend(ModelSpec("m", "hf", str(folders("llama")), {"device": "cpu", "batch_tokens": 128}))
    backend.load()
    whole = answers(backend, requests)
    facts = backend.usage().facts
    assert facts["prefix_sharing"] == "on"
    assert facts["forwarded_tokens"] >= facts["distinct_tokens"] > 0
    hidden, calls = SharingModel.hidden, []

    def failing(self: SharingModel, frame: Any, tokens: Any) -> Any:
        calls.append(len(tokens))
        if len(calls) > 3:
            raise MemoryError
        return hidden(self, frame, tokens)

    monkeypatch.setattr(SharingModel, "hidden", failing)
    found = answers(backend, requests)
    assert found.keys() == whole.keys()
    for i, response in whole.items():
        assert (found[i].logprob is None) is (response.logprob is None)
        if response.logprob is not None:
            assert found[i].logprob == pytest.approx(response.logprob, abs=1e-4)
    assert backend.usage().facts["prefix_sharing"].startswith("off: memory")


@pytest.mark.parametrize("requests", [pairs(), texts()], ids=["pairs", "rolling"])
def test_exact_and_shared_scores_agree(folders: Any, requests: list[Request]) -> None:
    def found(**options: Any) -> Iterator[float | None]:
        backend = HfBackend(ModelSpec("m", "hf", str(folders("llama", "bytes")), {"device": "cpu", **options}))
        backend.load()
        return (response.logprob for _, response in sorted(answers(backend, requests).items()))

    assert list(found()) == pytest.approx(list(found(exact=True)), abs=1e-4)
