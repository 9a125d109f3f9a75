"""What this version does not do is refused before any data is opened, with the key and the place."""

from __future__ import annotations

from pathlib import Path

import pytest

from lmrun.code import TaskFunctions
from lmrun.errors import TaskError
from lmrun.tasks import Task, build_task
from tests.tasks.helpers import QA, FakeData, config, qa_rows, requests, told


def build(folder: Path, text: str) -> Task:
    return Task(config(folder, QA.lstrip("\n") + text), FakeData(test=qa_rows(3)), TaskFunctions())


def refusal(folder: Path, text: str) -> str:
    with pytest.raises(TaskError) as caught:
        build(folder, text)
    return told(caught.value)


@pytest.mark.parametrize(
    "text",
    [
        "custom_dataset: !function u.f",
        "process_docs: !function u.f",
        "doc_to_text: !function u.f",
        "doc_to_target: !function u.f",
        "doc_to_choice: !function u.f",
        "process_results: !function u.f",
        "metric_list: [{metric: !function u.f}]",
        "metric_list: [{metric: acc, aggregation: !function u.f}]",
        "filter_list: [{name: x, filter: [{function: !function u.f}]}]",
        "filter_list: [{name: x, filter: [{function: custom, filter_fn: !function u.f}]}]",
    ],
)
def test_code_that_is_not_trusted(tmp_path: Path, text: str) -> None:
    said = refusal(tmp_path, text + "\n")
    assert f"{tmp_path}/t.yaml:7:" in said
    assert "!function u.f: " in said and "trust" in said


def test_a_python_class_that_is_not_trusted(tmp_path: Path) -> None:
    with pytest.raises(TaskError, match=r"!function task.T: is Python code .* not trusted"):
        build_task(config(tmp_path, "task: t\nclass: !function task.T\n"), FakeData(), TaskFunctions())


@pytest.mark.parametrize(
    "text",
    [
        "doc_to_decontamination_query: !function u.f\nshould_decontaminate: true",
        "metadata: {x: !function u.f}",
        "process_results: a_text_that_lm_eval_ignores_too",
    ],
)
def test_a_function_where_none_is_needed_is_no_obstacle(tmp_path: Path, text: str) -> None:
    assert len(requests(build(tmp_path, text + "\n"))) == 3


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("doc_to_image: image", "images"),
        ("doc_to_audio: audio", "audio"),
        ("unsafe_code: true", "runs code that the model writes"),
        ("use_prompt: promptsource:x", "named prompts are not supported"),
        ("fewshot_config: {sampler: !function u.f}", "there is no sampler"),
        ("fewshot_config: {sampler: frist_n}", "did you mean 'first_n'"),
        ("doc_to_text: '{{q'", "doc_to_text: not a valid template"),
        ("description: '{% if %}'", "description: not a valid template"),
        ("fewshot_config: {doc_to_text: '{{q'}", "fewshot_config.doc_to_text: not a valid template"),
        ("doc_to_text: null", "states no doc_to_text"),
        ("doc_to_target: null", "states no doc_to_target"),
        ("dataset_path: null", "states no dataset_path"),
        ("test_split: null", "states no test_split or validation_split"),
        ("output_type: multiple_choice", "states no doc_to_choice"),
    ],
)
def test_reasons(tmp_path: Path, text: str, said: str) -> None:
    told_ = refusal(tmp_path, text + "\n")
    assert said in told_
    assert f"{tmp_path}/t.yaml:" in told_


def test_everything_at_once(tmp_path: Path) -> None:
    with pytest.raises(TaskError) as caught:
        build(tmp_path, "doc_to_image: i\nprocess_docs: !function u.f\ndoc_to_text: '{{'\n")
    assert len(caught.value.problems) == 3
