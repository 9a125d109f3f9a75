"""SQuAD 2.0's scores over all docs, against the definition of the official evaluation."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.squadv2.task import Item, SquadV2, _best, _mean


def item(no_answer: float, answerable: bool, wrote: bool, score: float) -> Item:
    return Item(no_answer, answerable, wrote, score, score)


ITEMS = [
    item(0.1, True, True, 1.0),
    item(0.4, True, True, 0.0),
    item(0.6, False, True, 0.0),
    item(0.9, False, False, 1.0),
]

items = st.lists(
    st.builds(
        item,
        st.sampled_from([i / 100 for i in range(50)]),
        st.booleans(),
        st.booleans(),
        st.sampled_from([0.0, 0.5, 1.0]),
    ),
    min_size=1,
    max_size=8,
    unique_by=lambda row: row.no_answer,
)


def test_means() -> None:
    assert _mean("exact", None, ITEMS) == 50.0
    assert _mean("f1", True, ITEMS) == 50.0
    assert _mean("exact", False, ITEMS) == 50.0
    assert _mean("exact", False, ITEMS[:2]) == 0.0


def test_the_best_threshold() -> None:
    # Two unanswerable docs count while nothing is answered; answering the surest one adds one more.
    assert _best("exact", ITEMS) == 75.0


@given(items)
def test_the_best_is_that_of_all_thresholds(rows: list[Item]) -> None:
    def at(threshold: float) -> float:
        return sum(
            (0.0 if row.wrote else 1.0) if not row.answerable and row.no_answer <= threshold
            else row.f1 if row.no_answer <= threshold
            else float(not row.answerable)
            for row in rows
        )  # fmt: skip

    thresholds = [-1.0, *(row.no_answer for row in rows)]
    assert _best("f1", rows) == pytest.approx(100 * max(map(at, thresholds)) / len(rows))


@pytest.mark.parametrize(
    ("right", "answer", "exact", "f1"),
    [(["The Ost", "Ost river"], "ost", 1.0, 1.0), (["x b"], "b c", 0.0, 0.5), ([], "", 1.0, 1.0), ([], "x", 0.0, 0.0)],
)
def test_one_doc(right: list[str], answer: str, exact: float, f1: float) -> None:
    doc: dict[str, Any] = {"answers": {"text": right}}
    task = SquadV2.__new__(SquadV2)
    values = task.process_results(doc, [answer, (0.0, True)])
    assert values["exact"] == Item(1.0, bool(right), bool(answer), exact, f1)
    assert len(values) == 8
