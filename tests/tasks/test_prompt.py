"""Prompts from parts: delimiters in plain text, turns in a chat."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmrun.requests import Message
from lmrun.tasks.prompt import Part, PromptError, chat, join, plain_text, system_part, turn


@pytest.mark.parametrize(
    ("first", "second", "joined"),
    [
        ("a", "b", "a-b"),
        ("", "b", "b"),
        ("a", "", "a"),
        ("", "", ""),
        ("a ", "b", "a b"),
        ("a", "\nb", "a\nb"),
    ],
)
def test_join(first: str, second: str, joined: str) -> None:
    assert join(first, second, "-") == joined


def parts(question: Any, answer: Any = None, choices: Any = None, prefix: str = "") -> list[Part]:
    return turn(question, choices, answer, prefix=prefix, target_delimiter=" ", fewshot_delimiter="\n\n")


@pytest.mark.parametrize(
    ("question", "answer", "prefix", "text"),
    [
        ("Q?", "a", "", "Q? a\n\n"),
        ("Q?", " a", "", "Q?  a\n\n"),
        ("Q? ", "a", "", "Q?  a\n\n"),
        ("", "a", "", " a\n\n"),
        ("Q?", "", "", "Q?"),
        ("Q?", None, "", "Q?"),
        ("Q?", "a", "Answer:", "Q? Answer: a\n\n"),
        ("Q?", " a", "Answer:", "Q? Answer: a\n\n"),
        ("Q?\n", "a", "Answer:", "Q?\nAnswer: a\n\n"),
        ("", "a", "Answer:", "Answer: a\n\n"),
        ("Q?", None, "Answer:", "Q? Answer:"),
        ("Q?", "", "Answer:", "Q? Answer:"),
        ("Q?\n", None, "Answer:", "Q?\nAnswer:"),
        ("Q?", None, " Answer:", "Q? Answer:"),
        ("", None, "Answer:", "Answer:"),
    ],
)
def test_a_turn_in_plain_text(question: str, answer: Any, prefix: str, text: str) -> None:
    assert plain_text(parts(question, answer, prefix=prefix)) == text


@pytest.mark.parametrize(
    ("answer", "choices", "text"),
    [(1, ["x", "y"], "y"), (0, ["x", "y"], "x"), ("free", ["x"], "free"), (["first", "second"], None, "first")],
)
def test_the_answer_of_a_turn(answer: Any, choices: Any, text: str) -> None:
    assert parts("Q", answer, choices)[1].content == text


@pytest.mark.parametrize(
    ("question", "answer", "choices"),
    [(3, "a", None), (None, None, None), ("Q", 3, None), ("Q", 3, ["x"]), ("Q", [1], None), ("Q", [], None)],
)
def test_what_is_no_text_is_an_error(question: Any, answer: Any, choices: Any) -> None:
    with pytest.raises(PromptError):
        parts(question, answer, choices)


@pytest.mark.parametrize(
    ("instruction", "description", "text"),
    [
        (None, "", None),
        ("SYS", "", "SYS"),
        (None, "Desc: ", "Desc: "),
        ("SYS", "Desc\n", "SYS\n\nDesc\n"),
        ("SYS\n", "Desc", "SYS\nDesc"),
    ],
)
def test_the_system_message_has_no_delimiter(instruction: str | None, description: str, text: str | None) -> None:
    found = system_part(instruction, description, "\n\n")
    assert found == ([] if text is None else [Part("system", text, "")])


EXAMPLES = [*parts("TQ7?", "b bb"), *parts("TQ1?", "b bb")]
SYSTEM = [Part("system", "SYS")]


class TestChat:
    def test_multiturn_keeps_every_turn(self) -> None:
        assert chat([*SYSTEM, *EXAMPLES, *parts("Q0?")], multiturn=True) == (
            Message("system", "SYS"),
            Message("user", "TQ7?"),
            Message("assistant", "b bb"),
            Message("user", "TQ1?"),
            Message("assistant", "b bb"),
            Message("user", "Q0?"),
        )

    def test_single_turn_is_one_user_message(self) -> None:
        assert chat([*SYSTEM, *EXAMPLES, *parts("Q0?")], multiturn=False) == (
            Message("system", "SYS"),
            Message("user", "TQ7? b bb\n\nTQ1? b bb\n\nQ0?"),
        )

    def test_a_prefix_stays_the_beginning_of_the_answer(self) -> None:
        asked = [*EXAMPLES, *parts("Q0?", prefix="Answer:")]
        assert chat(asked, multiturn=False) == (
            Message("user", "TQ7? b bb\n\nTQ1? b bb\n\nQ0?"),
            Message("assistant", "Answer:"),
        )
        assert chat(asked, multiturn=True)[-2:] == (Message("user", "Q0?"), Message("assistant", "Answer:"))

    @given(
        turns=st.lists(st.tuples(st.text(min_size=1), st.text(min_size=1)), max_size=4),
        question=st.text(),
        system=st.booleans(),
    )
    def test_both_forms_hold_the_same_text(self, turns: list[tuple[str, str]], question: str, system: bool) -> None:
        asked = [*(SYSTEM if system else []), *(p for q, a in turns for p in parts(q, a)), *parts(question)]
        assert "".join(m.content for m in chat(asked, multiturn=False)) == plain_text(asked)
        assert [m.content for m in chat(asked, multiturn=True)] == [p.content for p in asked]
