"""RULER's docs: as long as asked for, with what is asked for in them, and the same each time."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import product
from typing import Any

import pytest

from lmrun.bundled import demo_model_dir, tasks_dir
from lmrun.code import TaskFunctions
from lmrun.data import Split
from lmrun.functions import FunctionError, FunctionRef

FOLDER = tasks_dir() / "ruler"
LENGTH = 1000
METADATA = {"version": 1.0, "tokenizer": str(demo_model_dir()), "max_seq_lengths": [LENGTH]}


def no_data(name: str) -> Split:
    raise AssertionError("this task reads no dataset")


def made(target: str, source: Callable[[str], Split] = no_data, **metadata: Any) -> list[Mapping[str, Any]]:
    splits = TaskFunctions().custom_dataset(FunctionRef(target, FOLDER), {**METADATA, **metadata}, source)
    return list(splits["test"])


@pytest.mark.parametrize("target", ["niah.single_1", "niah.multikey_3", "words.frequent_words"])
def test_docs_fit_and_hold_their_answers(target: str) -> None:
    pytest.importorskip("transformers")
    pytest.importorskip("wonderwords")
    docs = made(target)
    assert len(docs) == 500
    assert docs == made(target)
    for doc in docs:
        assert doc["max_length"] == LENGTH
        assert all(answer in doc["input"] for answer in doc["outputs"])
        assert target.startswith("words") or doc["length"] <= LENGTH
    assert len({doc["input"] for doc in docs}) == 500


def test_a_length_that_is_too_short_is_named() -> None:
    pytest.importorskip("transformers")
    pytest.importorskip("wonderwords")
    with pytest.raises(FunctionError, match="fits into 150 tokens; ask for more in max_seq_lengths"):
        made("niah.multikey_3", max_seq_lengths=[150])


def test_without_a_tokenizer_the_error_says_where_to_name_it() -> None:
    with pytest.raises(FunctionError, match=r"no tokenizer is named.*\[\[tasks\]\]"):
        made("niah.single_1", tokenizer="")


def test_names_are_in_the_order_of_their_letters() -> None:
    adjectives, nouns = ["high", "old", "high-pitched", "ad hoc"], ["zebra", "ape", "pitched-roof", "ape"]
    names = TaskFunctions().call(FunctionRef("vocabulary.Names", FOLDER), adjectives, nouns)
    expected = sorted({f"{adjective}-{noun}" for adjective, noun in product(adjectives, nouns)})
    assert [names[at] for at in range(len(names))] == expected == names[:]
    assert names[-1] == expected[-1]
    with pytest.raises(IndexError):
        names[len(expected)]


@pytest.mark.parametrize(
    ("response", "share"), [("A: 12\x07and 34 ", 1.0), ("only 34", 0.5), ("", 0.0), ("ALPHA", 0.0)]
)
def test_the_share_of_answers_found_is_the_metric_of_the_length(response: str, share: float) -> None:
    ref = FunctionRef("scores.process_results", FOLDER)
    assert TaskFunctions().call(ref, {"outputs": ["12", "34"], "max_length": 8192}, [response]) == {"8192": share}
