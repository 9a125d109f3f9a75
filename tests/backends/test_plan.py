"""How requests become batches."""

from __future__ import annotations

from array import array
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from lmrun.backends.hf.plan import (
    Member,
    Room,
    Row,
    Shape,
    batches,
    gpu_batch_tokens,
    merge_rows,
    padded_length,
    rounds,
)


def row(length: int, owner: int = 0, first: int = 0, scored: int = 1) -> Row:
    return Row(array("i", range(first, first + length)), (Member(owner, 0, array("i", range(scored))),))


@given(st.integers(1, 5000), st.integers(1, 5000))
def test_padding_is_small_and_never_over_the_limit(length: int, most: int) -> None:
    padded = padded_length(length, most)
    assert padded >= length
    assert padded <= max(length, most)
    assert padded - length < 16 or padded - length <= length / 8


def test_generation_pads_in_coarser_steps() -> None:
    assert [padded_length(n, 2000, 64) for n in (1, 64, 65, 300, 1025, 1990)] == [64, 64, 128, 320, 1152, 2000]


@given(st.integers(1, 4096))
def test_padding_crosses_no_power_of_two(length: int) -> None:
    assert padded_length(length, 1 << 20) <= max(16, 1 << (length - 1).bit_length())


@given(st.lists(st.integers(1, 300), max_size=60), st.integers(1, 600), st.booleans())
def test_every_row_is_in_one_batch_within_the_budget(lengths: list[int], tokens: int, one_length: bool) -> None:
    lengths.sort(reverse=True)
    plan = list(batches(lengths, Shape(tokens, one_length, 1)))
    assert [i for batch in plan for i in batch] == list(range(len(lengths)))
    for batch in plan:
        assert len(batch) == 1 or len(batch) * max(lengths[i] for i in batch) <= tokens
        assert not one_length or len({lengths[i] for i in batch}) == 1


def test_room_for_the_answer_counts() -> None:
    assert list(batches([10, 10, 10], Shape(60, True, 1), extra=20)) == [[0, 1], [2]]


def test_full_batches_need_no_filling() -> None:
    sizes = [len(batch) for batch in batches([10] * 20, Shape(110, True, 4), multiple=4)]
    assert sizes == [8, 8, 4]
    assert [len(batch) for batch in batches([10] * 5, Shape(30, True, 4), multiple=4)] == [3, 2]


def test_a_batch_holds_one_group() -> None:
    assert list(batches([10] * 4, Shape(100, True, 1), group=lambda i: i < 1)) == [[0], [1, 2, 3]]


def test_rows_with_the_same_input_are_run_once_and_the_longest_first() -> None:
    merged = merge_rows([row(3, 0), row(5, 1), row(3, 2, scored=2), row(3, 3, first=7)])
    assert [len(r.inputs) for r in merged] == [5, 3, 3]
    assert [[m.owner for m in r.members] for r in merged] == [[1], [0, 2], [3]]


@given(st.permutations(range(6)))
def test_the_order_of_rows_does_not_depend_on_the_order_of_requests(order: list[int]) -> None:
    rows = [row(3, 0), row(5, 1), row(4, 2), row(4, 3, first=9), row(1, 4), row(8, 5)]
    assert [r.inputs for r in merge_rows([rows[i] for i in order])] == [r.inputs for r in merge_rows(rows)]


def test_long_texts_are_taken_a_few_at_a_time() -> None:
    texts = [[row(8, i)] * (i + 1) for i in range(4)]
    taken = [[r.members[0].owner for r in rows] for rows in rounds(texts, 32)]
    assert taken == [[3] * 4, [2, 2, 2, 1, 1], [0]]


class TestRoom:
    def test_nothing_learnt_splits_nothing(self) -> None:
        assert Room().split([1, 2, 3], 100) == [[1, 2, 3]]

    def test_what_ran_out_halves_batches_of_like_and_longer_rows(self) -> None:
        room = Room()
        room.ran_out(8, 100)
        assert [len(part) for part in room.split(range(8), 100)] == [4, 4]
        assert [len(part) for part in room.split(range(8), 65)] == [6, 2]
        assert [len(part) for part in room.split(range(8), 400)] == [1] * 8
        assert [len(part) for part in room.split(range(8), 30)] == [8]

    def test_limits_only_fall(self) -> None:
        room = Room()
        limits = []
        for rows in (8, 4, 8, 2):
            room.ran_out(rows, 100)
            limits.append(len(room.split(range(8), 100)[0]))
        assert all(a >= b for a, b in pairwise(limits))
        assert limits[-1] == 1


def test_a_gpu_batch_depends_on_the_kind_of_device_alone() -> None:
    gib = 1 << 30
    assert gpu_batch_tokens(80 * gib, 16 * gib, 500_000) == 32_768
    assert gpu_batch_tokens(24 * gib, 16 * gib, 1_000_000) == 2048
    assert gpu_batch_tokens(8 * gib, 16 * gib, 1_000_000) == 512
