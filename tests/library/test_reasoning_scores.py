"""Helpers of the tasks of mathematics and reasoning, branch by branch. All values are lm-eval's."""

from __future__ import annotations

from typing import Any

import pytest

from lmrun.bundled import tasks_dir
from lmrun.code import TaskFunctions
from lmrun.errors import LmrunError
from lmrun.functions import FunctionRef
from tests.tasks.helpers import Rows


def helper(folder: str, name: str) -> FunctionRef:
    return FunctionRef(f"helpers.{name}", tasks_dir() / folder)


def results(name: str, doc: dict[str, Any], reply: str) -> Any:
    return TaskFunctions().call(helper("hendrycks_math", name), doc, [reply])


def processed(folder: str, name: str, doc: dict[str, Any]) -> dict[str, Any]:
    docs = TaskFunctions().process_docs(helper(folder, name), Rows([doc]))
    return dict(docs[0])


@pytest.mark.parametrize(
    ("solution", "answer", "normal"),
    [
        (r"First $\boxed{1}$, then $\boxed{\frac{1}{2}}$.", r"\frac{1}{2}", r"\frac{1}{2}"),
        (r"So it is $\boxed 7$ in all.", "7", "7"),
        (r"$\boxed{x = 14\text{ cm}}$", r"x = 14\text{ cm}", "14"),
        (r"$\boxed{1,250}$", "1,250", "1250"),
        (r"$\boxed{(0,1)}$", "(0,1)", "(0,1)"),
        (
            r"$\boxed{\left(\frac12, \sqrt3\right)}$",
            r"\left(\frac12, \sqrt3\right)",
            r"\left(\frac{1}{2},\sqrt{3}\right)",
        ),
        (r"$\boxed{\sqrt[3]x}$", r"\sqrt[3]x", r"\sqrt[3]{x}"),
        (r"$\boxed{\infty}$", r"\infty", r"\infty"),
    ],
)
def test_the_answer_of_a_solution(solution: str, answer: str, normal: str) -> None:
    doc = {"solution": solution}
    assert processed("hendrycks_math", "with_answer", doc) == {**doc, "answer": answer}
    assert processed("hendrycks_math", "with_normal_answer", doc) == {**doc, "answer": normal}


@pytest.mark.parametrize("solution", ["None.", r"$\boxed{1$", r"\fbox{2}"])
def test_a_solution_without_an_answer_is_told(solution: str) -> None:
    with pytest.raises(LmrunError, match="has no answer"):
        processed("hendrycks_math", "with_answer", {"solution": solution})


@pytest.mark.parametrize(
    ("answer", "reply", "score"),
    [
        (r"\frac{1}{2}", "It is $1/2$.", 1),
        (r"\frac{1}{2}", "0.5", 1),
        (r"\frac{1}{2}", r"$\dfrac12$", 1),
        (r"\frac{12}{3}", r"$\frac1{2}$", 0),
        (r"\frac{1}{2}", r"\frac1", 0),
        ("x/2", "x/2", 1),
        ("x/2", "x / 2", 0),  # no fraction of whole numbers: compared as it is
        ("4", "$x = 4$", 1),
        ("14", r"14\text{ cm}", 1),
        (r"\sqrt{3}", r"$\sqrt3$", 1),
        (r"\sqrt", r"\sqrt ", 0),
        ("3", r"3\text{ m}\text{ cm}", 0),
        ("0.25", ".25", 1),
        ("50", r"50\%", 1),
        ("2", "$1$ and $2$", 0),  # all between the first and the last dollar sign
        ("", "", 1),
    ],
)
def test_the_rule_of_math(answer: str, reply: str, score: int) -> None:
    assert results("hendrycks_results", {"answer": answer}, reply) == {"exact_match": score}


@pytest.mark.parametrize(
    ("answer", "reply", "score"),
    [
        ("$12$", r"so \boxed{n = 12}", 1),
        ("12", r"so \boxed{12", 0),
        ("12", "the answer is $12$", 1),
        ("12", r"x = 12.\nQ", 0),
        ("12", "x = 12.", 1),
        ("12", "between 3 and 12", 1),
        ("12", "none", 0),
        ("none", "nothing", 1),  # both without an answer
        ("a = x/2", "b = x/ 2", 1),
        (None, "12", 0),
    ],
)
def test_the_rule_of_agieval(answer: str | None, reply: str, score: int) -> None:
    assert results("agieval_results", {"answer": answer}, reply) == {"acc": score}


@pytest.mark.parametrize(
    ("answer", "reply", "exact_match", "math_verify"),
    [
        ("2", "Final Answer: The final answer is $1+1$. I hope it is correct.", 1, 1),
        ("2", r"So it is $\boxed{2}$.", 0, 1),
        ("(0,1)", "Final Answer: The final answer is $(0,1)$. I hope it is correct.", 1, 1),
        ("(0,1)", "Final Answer: The final answer is $(1,0)$. I hope it is correct.", 0, 0),
        (r"\frac{1}{2}", "Final Answer: The final answer is $x = 0.5$. I hope it is correct.", 1, 1),
        ("2", "", 0, 0),
    ],
)
def test_the_rule_of_minerva(answer: str, reply: str, exact_match: int, math_verify: int) -> None:
    doc = {"answer": answer, "solution": rf"It is $\boxed{{{answer}}}$."}
    assert results("minerva_results", doc, reply) == {"exact_match": exact_match, "math_verify": math_verify}


def filtered(name: str, reply: str, doc: dict[str, Any] | None = None, **arguments: Any) -> Any:
    (responses,) = TaskFunctions().apply_filter(helper("bbh/zeroshot", name), arguments, [[reply]], [doc or {}])
    return responses[0]


@pytest.mark.parametrize(
    ("reply", "first", "last"),
    [
        ("3 apples and -12 pears", "3", "-12"),
        ("there are twenty one", "21", "21"),
        ("there are twenty-one", "-", "-"),  # the hyphen passes for a number in digits
        ("ten plus thirty", "10", "30"),
        ("One hundred and five", "105", "105"),
        ("two thousand and fourteen", "2004", "2004"),  # the pattern stops after four
        ("three million thousand", "[invalid]", "[invalid]"),
        ("six", "[invalid]", "[invalid]"),
        ("sixteen", "16", "16"),
        ("a trillion", "[invalid]", "[invalid]"),
        ("many", "[invalid]", "[invalid]"),
    ],
)
def test_a_number(reply: str, first: str, last: str) -> None:
    assert filtered("Number", reply, group_select=0) == first
    assert filtered("Number", reply, group_select=-1) == last


def test_sorted_words() -> None:
    doc = {"input": "Sort the following words alphabetically: List: pear o'clock fig R&D"}
    assert filtered("SortedWords", "pear, then: fig o'clock pear figs", doc) == "fig o'clock pear"
    assert filtered("SortedWords", "", doc) == ""


def test_choices_within_a_question() -> None:
    doc = {"input": "Where?\nOptions:\n(A) At home \n(B) In (C) town"}
    assert processed("bbh/zeroshot", "with_choices", doc)["choices"] == ["At home", "In", "town"]
