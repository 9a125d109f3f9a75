"""What the leaderboards' tasks and tinyBenchmarks do by code of their own."""

from __future__ import annotations

import random
import sys
from importlib.util import find_spec
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from lmrun.bundled import tasks_dir
from lmrun.code import TaskFunctions
from lmrun.code.transfer import MadeSplit
from lmrun.engine.catalog import task_catalog
from lmrun.functions import FunctionError, FunctionRef

ANSWERS = ("Incorrect Answer 1", "Incorrect Answer 2", "Incorrect Answer 3", "Correct Answer")


def _call(folder: str, target: str, *args: Any) -> Any:
    return TaskFunctions().call(FunctionRef(target, tasks_dir() / folder), *args)


def _gpqa(folder: str, target: str = "helpers.process_docs") -> list[dict[str, Any]]:
    rows = [dict(zip(ANSWERS, ["a  a [title]", " b [note]", None, f"d{n}"], strict=True)) for n in range(6)]
    docs = TaskFunctions().process_docs(FunctionRef(target, tasks_dir() / folder), MadeSplit(rows))
    return list(docs)


def test_gpqa_is_shuffled_as_at_the_start_of_a_run() -> None:
    rng = random.Random(0)
    for n, doc in enumerate(_gpqa("gpqa")):
        expected = ["a a. ", "b [note]", " ", f"d{n}"]
        rng.shuffle(expected)
        assert doc["choices"] == expected == [doc[f"choice{place}"] for place in (1, 2, 3, 4)]
        assert expected["ABCD".index(doc["answer"][1])] == f"d{n}"


def test_the_leaderboard_takes_brackets_out_of_gpqa() -> None:
    plain, bare = _gpqa("gpqa"), _gpqa("leaderboard/gpqa")
    assert [doc["answer"] for doc in plain] == [doc["answer"] for doc in bare]
    assert all("b [note]" in doc["choices"] for doc in plain)
    assert all("b " in doc["choices"] for doc in bare)


def test_n_shot_has_an_order_of_its_own() -> None:
    assert [doc["answer"] for doc in _gpqa("gpqa", "helpers.process_docs_n_shot")] != [
        doc["answer"] for doc in _gpqa("gpqa")
    ]


def test_openllm_is_64_tasks_with_the_leaderboards_examples() -> None:
    tasks = {config.task: config for config in task_catalog(()).resolve("openllm").tasks}
    assert len(tasks) == 64
    shots = {name: config.num_fewshot for name, config in tasks.items()}
    assert shots["arc_challenge"] == 25
    assert shots["hellaswag"] == 10
    assert {shots[name] for name in shots if name.startswith("mmlu_")} == {5}
    assert {shots[name] for name in shots if name.startswith("truthfulqa_")} == {0}
    assert tasks["winogrande"].fewshot_config.split == "train"


@pytest.mark.parametrize(
    ("reply", "answer", "original"),
    [
        ("Final Answer: The final answer is $1{,}000$. I hope it is correct.", "1000", 1),
        ("The final answer is 1000.", "1000", 0),
        ("Final Answer: The final answer is 5 units. I hope it is correct.", "5", 1),
        # Rules that have been mended elsewhere since: "ft" goes even out of \left.
        ("Final Answer: The final answer is $\\left(1,2\\right)$. I hope it is correct.", "\\le(1,2\\right)", 1),
        ("Final Answer: The final answer is $2\\sqrt{3}$. I hope it is correct.", "\\sqrt{12}", 1),
    ],
)
def test_math_is_scored_as_the_leaderboard_did(reply: str, answer: str, original: int) -> None:
    pytest.importorskip("math_verify")
    doc = {"solution": f"It is $\\boxed{{{answer}}}$.", "answer": answer}
    found = _call("leaderboard/math", "helpers.process_results", doc, [reply])
    assert found["exact_match_original"] == original


def test_without_its_package_tinybenchmarks_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "tinyBenchmarks", raising=False)
    if find_spec("tinyBenchmarks"):
        pytest.skip("tinyBenchmarks is installed")
    with pytest.raises(FunctionError, match="needs the package 'tinyBenchmarks'") as raised:
        _call("tinyBenchmarks", "helpers.arc", [1.0] * 100)
    assert "git+https://github.com/felipemaiapolo/tinyBenchmarks" in str(raised.value.hint)


def test_tinybenchmarks_takes_all_100_scores_and_gives_the_estimate(monkeypatch: pytest.MonkeyPatch) -> None:
    package = ModuleType("tinyBenchmarks")

    def evaluate(scores: Any, benchmark: str) -> dict[str, dict[str, float]]:
        """With the interface of the package, which no index has: a dict by benchmark and method."""
        assert isinstance(scores, np.ndarray)
        return {benchmark: {"irt": 0.0, "pirt": 0.0, "gpirt": float(scores.mean())}}

    package.evaluate = evaluate  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "tinyBenchmarks", package)
    assert _call("tinyBenchmarks", "helpers.mmlu", [1.0, 0.0] * 50) == 0.5
    with pytest.raises(FunctionError, match="all 100 questions, not of 99"):
        _call("tinyBenchmarks", "helpers.mmlu", [1.0] * 99)


def test_an_answer_that_takes_too_long_is_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("math_verify")
    import sympy.parsing.latex
    from math_verify.errors import TimeoutException

    def parse_latex(text: str) -> None:
        raise TimeoutException(text)

    monkeypatch.setattr(sympy.parsing.latex, "parse_latex", parse_latex)
    assert _call("hendrycks_math", "helpers.same_value", "x", "y") is False
