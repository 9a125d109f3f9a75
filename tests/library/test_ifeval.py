"""IFEval's checks, against what lm-eval's make of the same responses (see ``tests/golden/make_ifeval_golden.py``)."""

from __future__ import annotations

import json
from importlib import metadata
from importlib.util import find_spec
from typing import Any

import pytest

from lmrun.bundled import tasks_dir
from lmrun.code import TaskFunctions
from lmrun.functions import FunctionError, FunctionRef

FOLDER = tasks_dir() / "ifeval"
NEEDS_LANGDETECT = ("language:", "change_case:english_")
NEEDS_NLTK = ("change_case:capital_word_frequency", "length_constraints:number_sentences")


def _has_sentence_data() -> bool:
    if not find_spec("nltk") or not metadata.version("nltk").startswith("3.9"):
        return False
    import nltk

    try:
        nltk.data.find("tokenizers/punkt_tab")
    except LookupError:
        return False
    return True


def _call(name: str, *args: Any) -> Any:
    return TaskFunctions().call(FunctionRef(f"helpers.{name}", FOLDER), *args)


def _golden() -> Any:
    return json.loads((FOLDER.parent.parent / "tests/golden/ifeval.json").read_text(encoding="utf-8"))


def _doc(instructions: list[dict[str, Any]]) -> dict[str, Any]:
    """A doc as the dataset has it: the arguments of all kinds of instructions, most of them null."""
    names = {name: None for instruction in instructions for name in instruction["kwargs"]}
    return {
        "instruction_id_list": [instruction["id"] for instruction in instructions],
        "kwargs": [{**names, **instruction["kwargs"]} for instruction in instructions],
    }


@pytest.mark.parametrize(
    ("prefixes", "runs"),
    [
        pytest.param((), True, id="without packages"),
        pytest.param(NEEDS_LANGDETECT, bool(find_spec("langdetect")), id="langdetect"),
        pytest.param(NEEDS_NLTK, _has_sentence_data(), id="nltk"),
    ],
)
def test_same_verdicts_as_lm_eval(prefixes: tuple[str, ...], runs: bool) -> None:
    if not runs:
        pytest.skip("needs langdetect, or nltk 3.9 with its data punkt_tab")
    golden = _golden()
    packaged = (*NEEDS_LANGDETECT, *NEEDS_NLTK)
    kinds = [
        at
        for at, instruction in enumerate(golden["instructions"])
        if (instruction["id"].startswith(prefixes) if prefixes else not instruction["id"].startswith(packaged))
    ]
    doc = _doc([golden["instructions"][at] for at in kinds])
    different = []
    for response in golden["responses"][:: 5 if prefixes == NEEDS_LANGDETECT else 1]:  # detection is slow
        found = _call("process_results", doc, [response["text"]])
        for kind in ("strict", "loose"):
            expected = [response[kind][at] == "1" for at in kinds]
            if found[f"inst_level_{kind}_acc"] != expected:
                different.append((response["text"], kind))
            assert found[f"prompt_level_{kind}_acc"] == all(found[f"inst_level_{kind}_acc"])
    assert not different
    assert len(golden["responses"]) > 300


def test_instruction_accuracy_counts_instructions() -> None:
    assert _call("instruction_accuracy", [[True], [True, False, False]]) == 0.5


def test_a_mark_is_counted_as_it_stands() -> None:
    doc = _doc(
        [{"id": "keywords:letter_frequency", "kwargs": {"letter": "#", "let_frequency": 2, "let_relation": "at least"}}]
    )
    assert _call("process_results", doc, ["# One\n# Two"])["prompt_level_strict_acc"]
    assert not _call("process_results", doc, ["# One"])["prompt_level_strict_acc"]


def test_an_unknown_instruction_is_named() -> None:
    with pytest.raises(FunctionError, match="unknown instruction 'keywords:rhyme'"):
        _call("process_results", _doc([{"id": "keywords:rhyme", "kwargs": {}}]), ["text"])
