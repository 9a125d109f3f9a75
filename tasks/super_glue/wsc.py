"""The Winograd schemas of SuperGLUE: does a pronoun of a passage mean a certain noun?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from lmrun.text import detokenize

Doc = Mapping[str, Any]

_MARKED = {
    "The boy continued to whip the pony , and eventually the pony threw him over. John laughed out quite loud. "
    '"Good for him," he said. ': ('him," he said. ', 'X ," he said.'),
    "When they had eventually calmed down a bit , and had gotten home, Mr. Farley put the magic pebble in an iron "
    "safe . Some day they might want to use it , but really for now, what more could they wish for?": (
        "use it ,",
        "use X ,",
    ),
}
"""Passages in which the data misplaces the pronoun, and what stands for what there."""

_DETERMINERS = frozenset(
    "a an few her his each every many much my our some that the their these this those which whose your".split()
)


def doc_to_text(doc: Doc) -> str:
    """The passage with its pronoun between stars, and the question."""
    text, pronoun = doc["text"], doc["span2_text"]
    before = " ".join(text.split()[: doc["span2_index"]])
    passage = detokenize(f"{before} *{pronoun}*{text[len(before) + len(pronoun) + 1 :]}")
    return (
        f"Passage: {passage}\n"
        f'Question: In the passage above, does the pronoun "*{pronoun}*" refer to "*{doc["span1_text"]}*"?\n'
        "Answer:"
    )


def t5_text(doc: Doc) -> str:
    """The passage with its pronoun between stars."""
    return "wsc: " + _with_mark(doc).replace(" X ", f" *{doc['span2_text']}* ")


def _with_mark(doc: Doc) -> str:
    text, place, pronoun = doc["text"], doc["span2_index"], doc["span2_text"]
    if text in _MARKED:
        return str(text.replace(*_MARKED[text]))
    words = text.split(" ")
    if place == 0 or words[place] != pronoun:
        raise ValueError(f"word {place} of {text!r} is not {pronoun!r}, or the first")
    return " ".join([*words[:place], "X", *words[place + 1 :]])


def t5_results(doc: Doc, results: Sequence[str]) -> dict[str, float]:
    """Right where the answer and the noun agree, and the label says that they should; or where neither."""
    answer, noun = _bare(results[0]), _bare(doc["span1_text"])
    given, right = set(answer.split(" ")), set(noun.split(" "))
    # "Bob's hat" is not Bob, though it has all his words.
    agree = ("'" in answer) == ("'" in noun) and (given <= right or right <= given)
    return {"accuracy": float(agree == doc["label"])}


def _bare(phrase: str) -> str:
    """Without determiners, in lower case."""
    return " ".join(word for word in phrase.strip().lower().split(" ") if word not in _DETERMINERS)
