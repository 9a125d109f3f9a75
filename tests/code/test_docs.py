"""Datasets that code makes."""

from __future__ import annotations

import datetime
import gc
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lmrun.code import TaskFunctions
from lmrun.code.transfer import MadeSplit
from lmrun.data import DatasetSpec, DataSource, Split
from lmrun.data.arrow import ParquetSplit, TableSplit
from lmrun.errors import TaskError
from lmrun.functions import FunctionRef

Write = Callable[..., FunctionRef]

ROWS: list[dict[str, Any]] = [
    {"q": f"question {i}", "n": i, "choices": ["a", "b"], "deep": {"x": [i], "y": None}} for i in range(6)
]


@pytest.fixture(params=["parquet", "two parquet files", "table", "json"])
def split(request: pytest.FixtureRequest, tmp_path: Path) -> Split:
    if request.param == "table":
        return TableSplit(pa.Table.from_pylist(ROWS))
    if request.param == "json":
        import json

        (tmp_path / "d.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS))
        return DataSource(None, True).load(
            DatasetSpec("json", None, {"data_files": {"test": str(tmp_path / "d.jsonl")}}), "test"
        )
    parts = [ROWS] if request.param == "parquet" else [ROWS[:2], ROWS[2:]]
    files = [tmp_path / f"{i}.parquet" for i in range(len(parts))]
    for file, part in zip(files, parts, strict=True):
        pq.write_table(pa.Table.from_pylist(part), file)
    return ParquetSplit(files, "abc")


def test_docs_are_a_dataset(functions: TaskFunctions, write: Write, split: Split) -> None:
    ref = write("""
        import datasets

        def f(docs: datasets.Dataset):
            assert isinstance(docs, datasets.Dataset), type(docs)
            assert list(docs.features) == ["q", "n", "choices", "deep"]
            docs = docs.filter(lambda doc: doc["n"] != 3).map(lambda doc: {"n": doc["n"] * 2, "new": [doc["q"]]})
            return docs.select(range(1, len(docs))).remove_columns("choices")
    """)
    made = functions.process_docs(ref, split)
    expected = [
        {"q": r["q"], "n": 2 * r["n"], "deep": r["deep"], "new": [r["q"]]} for r in ROWS if r["n"] not in (0, 3)
    ]
    assert list(made) == expected
    assert [made[i] for i in range(len(made))] == expected
    assert made.columns == ("q", "n", "deep", "new")
    assert made.fingerprint == split.fingerprint
    assert made.revision == split.revision
    made[0]["n"] = "changed"
    assert made[0] == expected[0]


def test_docs_may_come_back_as_a_list(functions: TaskFunctions, write: Write, split: Split) -> None:
    ref = write(
        "def f(docs):\n    return [{'i': i, **({'odd': 'yes'} if i % 2 else {})} for i, _ in enumerate(docs)]\n"
    )
    made = functions.process_docs(ref, split)
    assert list(made)[:2] == [{"i": 0}, {"i": 1, "odd": "yes"}]
    assert made.columns == ("i", "odd")
    lazy = write("def f(docs):\n    return (dict(doc) for doc in docs if doc['n'] < 2)\n", module="lazy")
    assert list(functions.process_docs(lazy, split)) == ROWS[:2]


@pytest.mark.parametrize("made", ["None", "5", "'text'", "[1, 2]", "{'a': [1]}", "[object()]"])
def test_what_is_no_docs_is_refused(functions: TaskFunctions, write: Write, made: str) -> None:
    with pytest.raises(TaskError, match=r"!function utils.f: NotPlainError: .* is not"):
        functions.process_docs(write(f"def f(docs):\n    return {made}\n"), TableSplit(pa.Table.from_pylist(ROWS)))


def test_types_stay(functions: TaskFunctions, write: Write) -> None:
    table = pa.table(
        {
            "when": pa.array([datetime.datetime(2020, 1, 2, 3, 4, 5)], pa.timestamp("s")),
            "raw": pa.array([b"\x00\xff"]),
            "small": pa.array([1], pa.int8()),
            "real": pa.array([0.1], pa.float32()),
            "nothing": pa.array([None]),
            "mixed": pa.array(['{"a": [1, "x"]}'], pa.json_()),
        }
    )
    split = TableSplit(table)
    made = functions.process_docs(write("def f(docs):\n    return docs\n"), split)
    assert list(made) == list(split)
    assert made[0]["mixed"] == {"a": [1, "x"]}


def test_a_result_is_shared_while_it_is_used(functions: TaskFunctions, write: Write) -> None:
    ref = write("def f(docs):\n    return [{'id': id(docs)}]\n")
    split, other = TableSplit(pa.Table.from_pylist(ROWS)), TableSplit(pa.Table.from_pylist(ROWS))
    made = functions.process_docs(ref, split)
    assert functions.process_docs(ref, split) is made
    assert functions.process_docs(ref, other) is not made
    del made
    gc.collect()
    assert len(functions.process_docs(ref, split)) == 1


def test_a_hundred_thousand_rows(functions: TaskFunctions, write: Write) -> None:
    ref = write("def f(docs):\n    return docs.add_column('m', [n + 1 for n in docs['n']])\n")
    made = functions.process_docs(ref, TableSplit(pa.table({"n": range(100_000), "text": ["some text"] * 100_000})))
    assert len(made) == 100_000
    assert made[99_999] == {"n": 99_999, "text": "some text", "m": 100_000}


SHUFFLE = """
    import random
    import numpy as np

    def shuffle(doc):
        numbers = list(range(8))
        random.shuffle(numbers)
        return {"numbers": numbers, "real": float(np.random.rand())}

    def f(docs):
        return docs.map(shuffle)

    def earlier(doc):
        random.seed(99)
"""


def _shuffled(rows: int, before: int = 0) -> list[dict[str, Any]]:
    """As the first ``process_docs`` of a run of lm-eval: after ``random.seed(0)`` and ``np.random.seed(1234)``."""
    draws, reals = random.Random(0), np.random.RandomState(1234)
    found = []
    for _ in range(before + rows):
        numbers = list(range(8))
        draws.shuffle(numbers)
        found.append({"numbers": numbers, "real": float(reals.rand())})
    return found[before:]


def test_a_shuffle_is_that_of_a_task_loaded_alone(functions: TaskFunctions, write: Write) -> None:
    ref = write(SHUFFLE)
    functions.call(FunctionRef("utils.earlier", ref.folder), {})
    split = TableSplit(pa.table({"n": range(5)}))
    assert [{k: doc[k] for k in ("numbers", "real")} for doc in functions.process_docs(ref, split)] == _shuffled(5)


def test_a_shuffle_goes_on_after_that_of_the_examples(functions: TaskFunctions, write: Write) -> None:
    ref = write(SHUFFLE)
    pool, split = TableSplit(pa.table({"n": range(3)})), TableSplit(pa.table({"n": range(5)}))
    made = functions.process_docs(ref, split, after=lambda: pool)
    assert [{k: doc[k] for k in ("numbers", "real")} for doc in made] == _shuffled(5, before=3)


def test_what_draws_nothing_is_not_given_the_examples(functions: TaskFunctions, write: Write) -> None:
    def never() -> Split:
        raise AssertionError

    split = TableSplit(pa.Table.from_pylist(ROWS))
    assert list(functions.process_docs(write("def f(docs):\n    return docs\n"), split, after=never)) == ROWS


def test_custom_dataset(functions: TaskFunctions, write: Write) -> None:
    def no_source(name: str) -> Split:
        raise AssertionError("code of users opens its data itself")

    ref = write("""
        import datasets

        def f(version, lengths, **rest):
            test = datasets.Dataset.from_list([{"n": n, "rest": sorted(rest)} for n in lengths])
            return {"test": test, "train": [{"v": version}]}
    """)
    made = functions.custom_dataset(ref, {"version": 1.5, "lengths": [3, 4], "config_source": "x"}, no_source)
    assert {name: list(split) for name, split in made.items()} == {
        "test": [{"n": 3, "rest": ["config_source"]}, {"n": 4, "rest": ["config_source"]}],
        "train": [{"v": 1.5}],
    }
    again = functions.custom_dataset(ref, {"version": 2, "lengths": [3, 4], "config_source": "x"}, no_source)
    assert made["test"].fingerprint == again["test"].fingerprint
    assert made["train"].fingerprint != again["train"].fingerprint
    assert made["test"].revision is None
    assert isinstance(made["train"], MadeSplit)
