"""Docs: a split with changes asked for, row by row."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from lmrun.data import Docs
from tests.tasks.helpers import Rows

ROWS = [{"n": n, "text": f"t{n}"} for n in range(6)]


def docs() -> Docs:
    return Docs(Rows(ROWS))


def doubled(doc: dict[str, Any]) -> dict[str, Any]:
    return {"n": doc["n"] * 2, "half": doc["n"] / 2}


def test_map_replaces_and_adds_columns() -> None:
    found = docs().map(doubled)
    assert found.columns == ("n", "text", "half")
    assert found[3] == {"n": 6, "text": "t3", "half": 1.5}
    assert [doc["n"] for doc in found] == [0, 2, 4, 6, 8, 10]


def test_changes_build_on_one_another() -> None:
    found = docs().filter(lambda doc: doc["n"] % 2 == 1).map(doubled).map(doubled).select([2, 0])
    assert [doc["n"] for doc in found] == [20, 4]
    assert len(found) == 2
    assert found[-1]["text"] == "t1"


def test_a_doc_expands_to_as_many_as_it_has_parts() -> None:
    found = docs().map(doubled).expand(lambda doc: [{"text": doc["text"], "part": k} for k in range(doc["n"] // 2)])
    assert found.columns == ("n", "text", "half", "part")
    assert [(doc["n"], doc["part"]) for doc in found] == [(n * 2, part) for n in range(6) for part in range(n)]
    assert found[-1] == {"n": 10, "text": "t5", "half": 2.5, "part": 4}
    assert found.filter(lambda doc: doc["part"] == 3).map(doubled)[1]["n"] == 20


def test_nothing_expands_to_nothing() -> None:
    found = docs().expand(lambda doc: [])
    assert (len(found), found.columns, found.fingerprint) == (0, ("n", "text"), "6 rows")


def test_what_is_made_keeps_the_fingerprint_of_the_rows_and_leaves_the_others_alone() -> None:
    before = docs()
    assert before.map(doubled).filter(lambda doc: False).fingerprint == before.fingerprint == "6 rows"
    assert [doc["n"] for doc in before] == [0, 1, 2, 3, 4, 5]


def test_no_rows_are_left() -> None:
    found = docs().filter(lambda doc: False)
    assert (len(found), list(found), found.map(doubled).columns) == (0, [], ("n", "text"))


@given(st.lists(st.integers(0, 5)), st.integers(1, 4))
def test_selecting_and_filtering_is_what_it_is_for_lists(indices: list[int], modulus: int) -> None:
    found = docs().select(indices).filter(lambda doc: doc["n"] % modulus == 0)
    assert list(found) == [ROWS[i] for i in indices if i % modulus == 0]
    assert [found[i] for i in range(len(found))] == list(found)
