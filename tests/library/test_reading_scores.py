"""Helpers of the tasks of reading, knowledge and long texts, branch by branch. All values are lm-eval's."""

from __future__ import annotations

import math
from typing import Any

import pytest

from lmrun.bundled import tasks_dir
from lmrun.code import TaskFunctions
from lmrun.functions import FunctionRef


def call(family: str, target: str, *args: Any) -> Any:
    return TaskFunctions().call(FunctionRef(target, tasks_dir() / family), *args)


def scores(family: str, target: str, doc: dict[str, Any], answer: str) -> Any:
    return pytest.approx(call(family, target, doc, [answer]), rel=1e-12)


def drop_answer(number: str = "", spans: tuple[str, ...] = (), month: str = "") -> dict[str, Any]:
    return {"number": number, "spans": list(spans), "date": {"day": "", "month": month, "year": ""}}


@pytest.mark.parametrize(
    ("answer", "others", "given", "em", "f1"),
    [
        (drop_answer("7"), [], "7.0", 1.0, 1.0),
        (drop_answer("7"), [drop_answer(month="May")], "in May", 0.0, 0.67),
        (drop_answer(spans=("The ferry", "zero men")), [], "ferry", 0.0, 0.5),
        (drop_answer(spans=("12 men",)), [], "men", 0.0, 0.0),
        # 0.025, which Python would round to 0.03.
        (drop_answer(spans=("w x y", *(f"y{i}" for i in range(19)))), [], "w", 0.0, 0.02),
        (drop_answer(), [], "", 0.0, 0.0),
    ],
)
def test_drop(answer: dict[str, Any], others: list[dict[str, Any]], given: str, em: float, f1: float) -> None:
    checks = {key: [other[key] for other in others] for key in ("number", "spans", "date")}
    doc = {"answer": answer, "validated_answers": checks}
    assert scores("drop", "helpers.process_results", doc, given) == {"em": em, "f1": f1}


def test_coqa_leaves_out_each_answer_once() -> None:
    turn = {"input_text": ["earlier", "The ferry"]}
    more = {"0": {"input_text": ["x", "the FERRY"]}, "1": {"input_text": ["x", "a red ferry"]}}
    doc = {"questions": {"input_text": ["?", "?"]}, "answers": turn, "additional_answers": more}
    assert call("coqa", "helpers.doc_to_target", doc) == ["The ferry", "a red ferry"]
    given = scores("coqa", "helpers.process_results", doc, " ferry\nno more")
    assert given == {"em": 0.5, "f1": (2 / 3 + 1) / 2}
    alone = {**doc, "additional_answers": None}
    assert scores("coqa", "helpers.process_results", alone, "a the") == {"em": 0.0, "f1": 0.0}


def test_race_shows_earlier_questions_with_their_answers() -> None:
    problems = [
        {"question": "She took a  _  .", "answer": "B", "options": ["map", "bell", "rope", "hat"]},
        {"question": "Why?", "answer": "D", "options": ["a", "b", "c", "It rang."]},
        {"question": "Who did?", "answer": "C", "options": ["Mira", "Bako", "Pia", "Juro"]},
    ]
    doc = {"article": "A story.", "problems": str(problems)}
    text = "Article: A story.\n\nShe took a bell\nQuestion: Why?\nAnswer: It rang.\nWho did?"
    assert call("race", "helpers.doc_to_text", doc) == text
    assert call("race", "helpers.doc_to_target", doc) == 2
    assert call("race", "helpers.doc_to_choice", doc) == ["Mira", "Bako", "Pia", "Juro"]


def test_mathqa_splits_options_at_their_letters() -> None:
    options = {"options": "a ) rs . 1 , 200 , b ) 1 / 2 , c ) 3 , d ) none , e ) 5"}
    assert call("mathqa", "helpers.doc_to_choice", options) == ["rs . 1", "1 / 2", "3", "none", "5"]


def test_webqs_drops_answers_that_go_on() -> None:
    doc = {"answers": ["amber glass", "Bako", "amber", "Bako of Torvik"]}
    assert call("webqs", "helpers.doc_to_choice", doc) == ["Bako", "amber"]
    assert call("webqs", "helpers.doc_to_target", doc) == [0, 1]


REFERENCE = {
    **{f"emotion{i}": name for i, name in enumerate(("Relieved", "Amused", "Guilty", "Worried"), 1)},
    **{f"emotion{i}_score": score for i, score in enumerate(("10", 4, 6, "2"), 1)},
}


@pytest.mark.parametrize(
    ("answer", "score"),
    [
        ("Relieved: 10\nAmused: 4\nGuilty: 6\nWorried: 2", 100),
        ("Scores\nRelieved: 3\nWorried: 9\nGuilty: 9\nAmused: 2", -19.970045895508886),
        ("Relieved: 10\nAmused: 4\nGuilty: 6", None),
        ("Relieved: 10\nAmused: 4\nGuilty: 6\nProud: 2", None),
    ],
)
def test_eq_bench(answer: str, score: float | None) -> None:
    expected = {"eqbench": score or 0, "percent_parseable": 0 if score is None else 100}
    doc = {"reference_answer_fullscale": str(REFERENCE)}
    assert scores("eq_bench", "helpers.process_results", doc, answer) == expected


@pytest.mark.parametrize(
    ("kind", "answers", "given", "score"),
    [
        ("qa_f1", ["the red ferry", "no"], "A ferry!", 2 / 3),
        ("qa_f1", ["the"], "a", 0.0),
        ("rouge", ["The ferry left at noon. It came back.", "no"], "It left at noon. The ferry is back.", 0.874999995),
        ("rouge", ["..."], "The ferry", 0.0),
        ("count", ["12"], "12 of 30, so 12", 2 / 3),
        ("count", ["12"], "none", 0.0),
        ("retrieval", ["Paragraph 3"], "Paragraph 3, not 4", 0.5),
        ("retrieval_zh", ["段落3"], "段落3，段落4", 0.5),
        ("code_sim", ["    return total + 1"], "\n  # sums\n```\n    return total+1\nx = 2", 0.95),
        ("code_sim", ["x"], "# nothing but a comment", 0.0),
        ("code_sim", ["x = 1"], "x = 1", 1.0),
        # A class within the right one's name is forgiven, but hides the class after it from being forgiven.
        ("classification", ["entity animal"], "an entity animal, or a person", 1 / 3),
        ("classification", ["person"], "an entity", 0.0),
    ],
)
def test_longbench(kind: str, answers: list[str], given: str, score: float) -> None:
    doc = {"answers": answers, "all_classes": ["entity", "animal", "entity animal", "person"]}
    assert scores("longbench", f"helpers.{kind}", doc, given) == {"score": score, f"{kind}_score": score}


@pytest.mark.parametrize(("kind", "score"), [("qa_f1_zh", 0.8), ("rouge_zh", 0.6666666618055556)])
def test_longbench_in_chinese(kind: str, score: float) -> None:
    pytest.importorskip("jieba", reason="the extra 'tasks' is not installed", exc_type=ImportError)
    doc = {"answers": ["他们在8点离开了。"]}
    assert scores("longbench", f"helpers.{kind}", doc, "他们8点离开！") == {"score": score, f"{kind}_score": score}


def test_long_sentences_get_a_rouge_score() -> None:
    words = " ".join(f"w{i}" for i in range(1500))
    found = call("longbench", "helpers.rouge", {"answers": [words]}, [words])
    assert math.isclose(found["score"], 1.0, abs_tol=1e-8)


def test_truthfulqa_measures() -> None:
    pytest.importorskip("sacrebleu", reason="the extra 'tasks' is not installed", exc_type=ImportError)
    true, false = ["The lamp does nothing", " No one knows. ", ""], ["The lamp burns", "It turns green."]
    doc = {"correct_answers": true, "incorrect_answers": false}
    expected = {"bleu_max": 34.57207846419409, "bleu_acc": 1, "bleu_diff": 12.482487330036214}
    for name, score in (("rouge1", 60.0), ("rouge2", 50.0), ("rougeL", 60.0)):
        expected |= {f"{name}_max": score, f"{name}_acc": 0, f"{name}_diff": 0.0}
    given = "No one knows . The lamp\nburns nothing"
    assert scores("truthfulqa", "generation.process_results", doc, given) == expected
