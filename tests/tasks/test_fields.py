"""What ``doc_to_text``, ``doc_to_target`` and ``doc_to_choice`` make of a doc."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from lmrun.code import TaskFunctions
from lmrun.errors import TaskError
from lmrun.tasks.config import task_config
from lmrun.tasks.fields import Fields
from lmrun.tasks.yaml import YamlMapping
from tests.tasks.helpers import config, told

DOC: dict[str, Any] = {
    "q": "why?",
    "n": 3,
    "flag": True,
    "labels": [0, 1],
    "options": ["x", "y"],
    "as_dict": {"a": "x"},
    "Answer Key": "B",
    "digit": "1",
    "zero": "07",
    "none": None,
}


def fields(columns: set[str] | None = None, **keys: Any) -> Fields:
    return Fields(
        task_config(YamlMapping({"task": "t", **keys}), None), set(DOC) if columns is None else columns, TaskFunctions()
    )


@pytest.mark.parametrize(
    ("value", "choices", "text"),
    [
        (2, None, 2),
        ("q", None, "why?"),
        ("n", None, 3),
        ("labels", None, [0, 1]),
        ("flag", None, True),
        ("Answer Key", None, "B"),
        ("{{q}} {{n}}", None, "why? 3"),
        ("", None, ""),
        ("literal", None, "literal"),
        ("{{n}}", None, "3"),
        ("{{n}}", ["a", "b"], 3),
        ("{{digit}}", ["a", "b"], 1),
        ("digit", ["a", "b"], "1"),
        ("-{{n}}", ["a", "b"], "-3"),
        ("12", ["a", "b"], 12),
        ("[1, 2]", None, "[1, 2]"),
    ],
)
def test_text(value: Any, choices: Any, text: Any) -> None:
    found = fields(doc_to_text=value, doc_to_choice=choices).text(DOC)
    assert found == text
    assert type(found) is type(text)


@pytest.mark.parametrize(
    ("value", "choices", "target"),
    [
        (0, None, 0),
        ([1, 2], None, [1, 2]),
        ("labels", None, [0, 1]),
        ("{{labels}}", None, [0, 1]),
        ("{{labels}}", ["a"], [0, 1]),
        ("{{n}}", None, "3"),
        ("{{n}}", ["a"], 3),
        ("[{{q}}]", None, "[why?]"),
        ("[", None, "["),
        ("['a', \"b\"]", None, ["a", "b"]),
        (" {{q}}", None, " why?"),
        ("none", None, None),
    ],
)
def test_target(value: Any, choices: Any, target: Any) -> None:
    found = fields(doc_to_target=value, doc_to_choice=choices).target(DOC)
    assert found == target
    assert type(found) is type(target)


@pytest.mark.parametrize(
    ("value", "choices"),
    [
        (["a", "b"], ["a", "b"]),
        ({"one": "a", "two": "b"}, ["a", "b"]),
        ("options", ["x", "y"]),
        ("{{options}}", ["x", "y"]),
        ("{{[q, 'no']}}", ["why?", "no"]),
        ("['a', 'b']", ["a", "b"]),
    ],
)
def test_choices(value: Any, choices: list[str]) -> None:
    assert fields(doc_to_choice=value).choices(DOC) == choices


def test_no_choices() -> None:
    assert fields().choices(DOC) is None


@pytest.mark.parametrize("value", ["q", "{{q}}", "{{n}}", "as_dict", "{{missing}}", "{{ '[' }}"])
def test_choices_that_are_no_list_are_an_error(value: str) -> None:
    with pytest.raises(TaskError):
        fields(doc_to_choice=value).choices(DOC)


def test_a_leading_zero_is_no_index() -> None:
    with pytest.raises(TaskError) as caught:
        fields(doc_to_text="{{zero}}", doc_to_choice=["a"]).text(DOC)
    assert "'07'" in told(caught.value)
    assert fields(doc_to_text="{{zero}}").text(DOC) == "07"


def test_columns_are_those_of_the_evaluated_split() -> None:
    """A further column of an example turns no literal into a column, and one that it lacks is an error."""
    assert fields({"q"}, doc_to_text="n").text(DOC) == "n"
    with pytest.raises(TaskError) as caught:
        fields({"q"}, doc_to_text="q").fewshot_text({"question": "x"})
    assert "no column 'q'" in told(caught.value)


@pytest.mark.parametrize(
    ("description", "text"), [("", ""), (None, ""), ("q", "why?"), ("About {{n}}.\n\n", "About 3.\n\n"), ("none", "")]
)
def test_description(description: Any, text: str) -> None:
    assert fields(set(), description=description).description(DOC) == text


def test_gen_prefix_of_the_doc_goes_by_columns_and_that_of_an_example_by_its_own_keys() -> None:
    found = fields({"n"}, gen_prefix="q")
    assert found.gen_prefix(DOC) == "q"
    assert found.fewshot_gen_prefix(DOC) == "why?"
    assert fields(gen_prefix="{{n}}:").gen_prefix(DOC) == "3:"
    assert fields().gen_prefix(DOC) == ""
    assert fields(gen_prefix="").gen_prefix(DOC) == ""


def test_examples_use_the_fields_of_fewshot_config() -> None:
    found = fields(
        doc_to_text="q",
        doc_to_target="n",
        doc_to_choice=["a", "b"],
        fewshot_config={"doc_to_text": "E {{q}}", "doc_to_choice": None, "gen_prefix": "p"},
    )
    assert found.fewshot_text(DOC) == "E why?"
    assert found.fewshot_target(DOC) == 3
    assert found.fewshot_choices(DOC) is None
    assert found.fewshot_gen_prefix(DOC) == "p"
    assert found.gen_prefix(DOC) == ""


def test_a_null_text_of_examples_falls_back_to_the_task() -> None:
    found = fields(doc_to_text="q", doc_to_target="n", fewshot_config={"doc_to_text": None, "doc_to_target": None})
    assert (found.fewshot_text(DOC), found.fewshot_target(DOC)) == ("why?", 3)


def test_an_error_names_the_key_the_file_the_line_and_the_columns(tmp_path: Path) -> None:
    found = config(tmp_path, 'task: t\ndoc_to_target: x\ndoc_to_text: "{{ques}}"\n')
    with pytest.raises(TaskError) as caught:
        Fields(found, {"question"}, TaskFunctions()).text({"question": "x", "answer": "y"})
    assert f"{tmp_path}/t.yaml:3:1: doc_to_text: the doc has no column 'ques'" in told(caught.value)
    assert "question, answer" in told(caught.value)
    assert "did you mean 'question'" in told(caught.value)
