"""Preparations of docs, on rows written by hand."""

from __future__ import annotations

import pytest

from lmrun.errors import TaskError
from lmrun.tasks.builtin_docs import BUILTIN_DOCS, PreparedSplit
from tests.tasks.helpers import Row, Rows, told


def prepared(name: str, *rows: Row) -> PreparedSplit:
    return PreparedSplit(Rows(rows), BUILTIN_DOCS[name], None)


def test_hellaswag() -> None:
    row = {
        "activity_label": "Cutting",
        "ctx_a": "[header] How to cut [title] Take a knife.",
        "ctx_b": "the Man",
        "endings": [" [substeps] cuts.", "runs [step]  away "],
        "label": "1",
    }
    (doc,) = prepared("hellaswag", row)
    # A marker at the start leaves two spaces behind the colon, which become one; the sentence end has its own rule.
    assert doc["query"] == "Cutting: How to cut. Take a knife. The man"
    assert doc["choices"] == [" cuts.", "runs  away"]
    assert doc["gold"] == 1
    assert doc["label"] == "1"


@pytest.mark.parametrize(
    ("page", "text"),
    [
        ("well @-@ known 1 @,@ 000 3 @.@ 5", "well-known 1,000 3.5"),
        ("the dogs ' bones", "the dogs' bones"),
        ("a , b . c ; d : e ! f ? g", "a, b. c; d: e! f? g"),
        ("( in brackets ) [ more ] { most }", "(in brackets) [more] {most}"),
        ('he said " hello there " twice', 'he said "hello there" twice'),
        ("the dog 's bone", "the dog's bone"),
        (" = = Title = = \n text \n", " == Title ==\ntext\n"),
        ("20 ° C", "20°C"),
        ("N of N to", "N of 1 to"),
    ],
)
def test_wikitext(page: str, text: str) -> None:
    (doc,) = prepared("wikitext", {"page": page})
    assert doc == {"page": page, "detokenized": text}


def test_a_prepared_split_reads_like_a_split() -> None:
    split = prepared("wikitext", {"page": "a , b", "x": 1}, {"page": "c", "x": 2})
    assert (len(split), split.columns, split.fingerprint) == (2, ("page", "x", "detokenized"), "2 rows")
    assert split[0] == {"page": "a , b", "x": 1, "detokenized": "a, b"}
    assert [doc["x"] for doc in split] == [1, 2]


def test_other_data_is_refused() -> None:
    with pytest.raises(TaskError) as caught:
        list(prepared("hellaswag", {"question": "x"}))
    assert "builtin:hellaswag" in told(caught.value)
    assert "'ctx_a'" in told(caught.value)
