"""The choice of examples, draw for draw."""

from __future__ import annotations

from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmrun.errors import TaskError
from lmrun.tasks.fewshot import FewshotSampler
from tests.tasks.helpers import Rows, told

Doc = dict[str, Any]

POOL: list[Doc] = [{"id": i} for i in range(12)]
NEVER = {"id": -1}


def sampler(kind: str = "default", pool: list[Doc] | None = None, seed: int = 1234) -> FewshotSampler:
    return FewshotSampler(kind, Rows(POOL if pool is None else pool), seed, "t", None)


def ids(docs: list[Doc]) -> list[int]:
    return [doc["id"] for doc in docs]


def test_plain_draws() -> None:
    """Known draws of lm-eval: pool of 12, two examples, seed 1234, docs 0 to 2."""
    chooser = sampler()
    assert [ids(chooser.sample(2, None)) for _ in range(3)] == [[7, 1], [0, 1], [9, 0]]


def test_draws_that_keep_the_doc_out() -> None:
    """One more is drawn, the doc is dropped if it is there, the first two stay: [7, 1, 0], [1, 9, 0], [10, 1, 11]."""
    chooser = sampler()
    assert [ids(chooser.sample(2, doc)) for doc in (POOL[0], POOL[1], NEVER)] == [[7, 1], [9, 0], [10, 1]]


def test_first_n_takes_the_first_and_draws_nothing() -> None:
    chooser = sampler("first_n")
    assert ids(chooser.sample(3, None)) == [0, 1, 2]
    assert ids(chooser.sample(3, POOL[1])) == [0, 2, 3]
    assert ids(chooser.sample(3, None)) == [0, 1, 2]


def test_no_examples_draw_nothing() -> None:
    chooser = sampler()
    assert chooser.sample(0, None) == []
    assert ids(chooser.sample(2, None)) == [7, 1]


def test_an_empty_doc_counts_as_none() -> None:
    assert ids(sampler().sample(2, {})) == [7, 1]


@pytest.mark.parametrize(
    ("kind", "eval_doc", "n"), [("default", None, 13), ("default", NEVER, 12), ("first_n", POOL[3], 12)]
)
def test_a_pool_that_is_too_small_is_an_error(kind: str, eval_doc: Doc | None, n: int) -> None:
    with pytest.raises(TaskError) as caught:
        sampler(kind).sample(n, eval_doc)
    assert "smaller num_fewshot" in told(caught.value)


def test_copies_of_the_doc_are_all_kept_out() -> None:
    pool = [{"id": 0}] * 6 + [{"id": 1}, {"id": 2}]
    for seed in range(20):
        assert sorted(ids(sampler(pool=pool, seed=seed).sample(2, {"id": 0}))) == [1, 2]


@given(size=st.integers(1, 60), n=st.integers(1, 12), seed=st.integers(0, 9999), docs=st.integers(1, 6))
def test_drawing_positions_is_drawing_docs(size: int, n: int, seed: int, docs: int) -> None:
    """The pool is never listed, and yet the draws are those of ``random.sample`` over the listed pool."""
    pool = [{"id": i} for i in range(size)]
    n = min(n, size)
    ours, reference = sampler(pool=pool, seed=seed), Random(seed)
    for _ in range(docs):
        assert ours.sample(n, None) == reference.sample(pool, n)


@given(size=st.integers(3, 40), n=st.integers(1, 5), seed=st.integers(0, 99), data=st.data())
def test_the_doc_is_never_among_its_own_examples(size: int, n: int, seed: int, data: st.DataObject) -> None:
    pool = [{"id": i} for i in range(size)]
    n = min(n, size - 1)
    chooser = sampler(data.draw(st.sampled_from(["default", "first_n"])), pool, seed)
    for doc in data.draw(st.lists(st.sampled_from(pool), min_size=1, max_size=5)):
        chosen = chooser.sample(n, doc)
        assert len(chosen) == n
        assert doc not in chosen


def test_only_drawn_rows_are_read_and_each_once() -> None:
    pool = Rows([{"id": i} for i in range(1000)])
    chooser = FewshotSampler("default", pool, 0, "t", None)
    drawn = [i for _ in range(50) for i in ids(chooser.sample(3, None))]
    assert sorted(pool.asked) == sorted(set(drawn))
