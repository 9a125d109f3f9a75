"""The configuration of a task: what is refused, what is filled in, and what identifies it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from lmrun.errors import Location, TaskError
from lmrun.functions import FunctionRef
from lmrun.tasks.config import as_json, task_config
from lmrun.tasks.yaml import YamlMapping
from tests.tasks.helpers import config, told

MINIMAL = "task: t\n"


def refused(folder: Path, text: str) -> TaskError:
    with pytest.raises(TaskError) as caught:
        config(folder, MINIMAL + text)
    return caught.value


def test_an_unknown_key_is_refused_with_its_place_and_a_guess(tmp_path: Path) -> None:
    error = refused(tmp_path, "\ndoc_to_texts: x\n")
    (problem,) = error.problems
    assert problem.location == Location(tmp_path / "t.yaml", 3, 1)
    assert problem.message == "unknown key doc_to_texts"
    assert problem.hint is not None
    assert problem.hint.startswith("did you mean 'doc_to_text'")


def test_every_problem_is_told_at_once(tmp_path: Path) -> None:
    error = refused(tmp_path, "output_type: generate\nrepeats: 0\nfewshot_config: {samplr: first_n, sampler: 3}\n")
    assert [(p.location.line if p.location else None, p.message) for p in error.problems] == [
        (2, "output_type is 'generate'"),
        (3, "repeats is 0"),
        (4, "unknown key fewshot_config.samplr"),
        (4, "fewshot_config.sampler is 3"),
    ]


def test_a_problem_in_an_included_file_is_placed_there(tmp_path: Path) -> None:
    (tmp_path / "base").write_text("\n\nwrong_key: 1\n")
    error = refused(tmp_path, "include: base\n")
    assert error.problems[0].location == Location(tmp_path / "base", 3, 1)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("dataset_name: no", "text, or null"),
        ("test_split: 3", "text, or null"),
        ("target_delimiter: null", "text"),
        ("num_fewshot: five", "a whole number, 0 or more"),
        ("num_fewshot: -1", "a whole number, 0 or more"),
        ("num_fewshot: true", "a whole number, 0 or more"),
        ("metric_list: [{aggregation: mean}]", "a list of mappings, each with a key metric"),
        ("metric_list: acc", "a list of mappings, each with a key metric"),
        ("filter_list: [{name: x}]", "a list of mappings {name: …, filter: [{function: …}, …]}"),
        ("generation_kwargs: [a]", "a mapping"),
        ("generation_kwargs: {temperature: hot}", "a number"),
        ("doc_to_choice: 3", "a column, a template, a list, or a mapping"),
        ("fewshot_config: {samples: x}", "a list of docs"),
    ],
)
def test_a_wrong_type_says_what_was_expected(tmp_path: Path, text: str, expected: str) -> None:
    assert refused(tmp_path, text + "\n").problems[0].expected == expected


def test_keys_of_the_index_are_no_keys_of_the_task(tmp_path: Path) -> None:
    assert config(tmp_path, MINIMAL + "tag: a\ngroup: null\ntask_list: [x]\n").as_json()["task"] == "t"


@pytest.mark.parametrize(
    ("text", "generation"),
    [
        ("", {"temperature": 0.0, "do_sample": False, "max_gen_toks": 256, "until": ["\n\n"]}),
        ("fewshot_delimiter: '##'", {"temperature": 0.0, "do_sample": False, "max_gen_toks": 256, "until": ["##"]}),
        ("generation_kwargs: {temperature: 1}", {"temperature": 1.0, "until": ["\n\n"]}),
        ("generation_kwargs: {temperature: 1e-1}", {"temperature": 0.1, "until": ["\n\n"]}),
        ("generation_kwargs: {until: []}", {"until": []}),
        ("generation_kwargs: {until: x}\nfewshot_delimiter: y", {"until": "x"}),
        ("output_type: multiple_choice", None),
        ("output_type: multiple_choice\ngeneration_kwargs: {a: 1}", {"a": 1, "until": ["\n\n"]}),
    ],
)
def test_generation_defaults(tmp_path: Path, text: str, generation: dict[str, Any] | None) -> None:
    assert config(tmp_path, MINIMAL + text).generation_kwargs == generation


def test_fewshot_config_inherits_what_it_does_not_state(tmp_path: Path) -> None:
    found = config(
        tmp_path,
        MINIMAL
        + "fewshot_split: dev\nprocess_docs: !function u.f\ndoc_to_text: t\ndoc_to_choice: [a]\ndoc_to_target: x\n"
        + "gen_prefix: p\nfewshot_delimiter: d\ntarget_delimiter: e\n"
        + "fewshot_config: {process_docs: null, doc_to_target: y}\n",
    )
    assert found.as_json()["fewshot_config"] == {
        "sampler": "default",
        "split": "dev",
        "process_docs": None,
        "fewshot_indices": None,
        "samples": None,
        "doc_to_text": "t",
        "doc_to_choice": ["a"],
        "doc_to_target": "y",
        "gen_prefix": "p",
        "fewshot_delimiter": "d",
        "target_delimiter": "e",
    }


def test_as_json_has_no_nulls_but_in_fewshot_config(tmp_path: Path) -> None:
    found = config(tmp_path, MINIMAL + "dataset_name: null\nmetadata: {version: 1.0}\n").as_json()
    assert found == {
        "task": "t",
        "unsafe_code": False,
        "description": "",
        "target_delimiter": " ",
        "fewshot_delimiter": "\n\n",
        "fewshot_config": {
            **dict.fromkeys(
                ["split", "process_docs", "fewshot_indices", "samples", "doc_to_text", "doc_to_choice", "doc_to_target"]
            ),
            "sampler": "default",
            "gen_prefix": None,
            "fewshot_delimiter": "\n\n",
            "target_delimiter": " ",
        },
        "output_type": "generate_until",
        "generation_kwargs": {"temperature": 0.0, "do_sample": False, "max_gen_toks": 256, "until": ["\n\n"]},
        "repeats": 1,
        "should_decontaminate": False,
        "metadata": {"version": 1.0, "config_source": str(tmp_path / "t.yaml")},
    }


@pytest.mark.parametrize(
    ("stated", "kept"), [("3", {"_metadata": 3}), ("null", {"_metadata": None}), ("{a: 1}", {"a": 1})]
)
def test_metadata_that_is_no_mapping_is_wrapped(tmp_path: Path, stated: str, kept: dict[str, Any]) -> None:
    metadata = config(tmp_path, MINIMAL + f"metadata: {stated}\n").metadata
    assert metadata == {**kept, "config_source": str(tmp_path / "t.yaml")}
    inline = task_config(YamlMapping({"task": "t"}), None)
    assert inline.metadata == {"config_source": "inline"}


class TestContentHash:
    def test_is_the_same_in_another_place_under_another_alias(self, tmp_path: Path) -> None:
        text = "task: t\nprocess_docs: !function u.f\ndoc_to_text: x\n"
        one = config(tmp_path / "a", text)
        two = config(tmp_path / "b" / "c", "\n" + text + "task_alias: T\ntag: x\n")
        assert one.content_hash == two.content_hash
        assert len(one.content_hash) == 32

    @pytest.mark.parametrize(
        "text", ["doc_to_text: y\n", "num_fewshot: 1\n", "metadata: {version: 2}\n", "repeats: 2\n"]
    )
    def test_changes_with_what_the_task_says(self, tmp_path: Path, text: str) -> None:
        assert config(tmp_path, MINIMAL).content_hash != config(tmp_path, MINIMAL + text).content_hash

    def test_changes_with_an_included_file(self, tmp_path: Path) -> None:
        (tmp_path / "base").write_text("doc_to_text: x\n")
        before = config(tmp_path, "task: t\ninclude: base\n").content_hash
        (tmp_path / "base").write_text("doc_to_text: y\n")
        assert config(tmp_path, "task: t\ninclude: base\n").content_hash != before


def test_a_python_task_keeps_its_class_and_its_other_keys_are_its_own(tmp_path: Path) -> None:
    found = config(tmp_path, "class: !function task.Mine\ntask: t\nrecipe: card=x\n")
    assert found.python_class is not None
    assert found.python_class.target == "task.Mine"


def test_values_that_json_cannot_say_become_text(tmp_path: Path) -> None:
    ref = FunctionRef("a.b", tmp_path, Location(tmp_path))
    assert as_json({"x": [ref, 1.5, None, (True,)], 3: "y"}) == {"x": ["!function a.b", 1.5, None, [True]], "3": "y"}


def test_the_report_is_readable(tmp_path: Path) -> None:
    text = told(refused(tmp_path, "outputtype: multiple_choice\n"))
    assert f"{tmp_path}/t.yaml:2:1: unknown key outputtype" in text
    assert "did you mean 'output_type'" in text
