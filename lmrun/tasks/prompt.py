"""From questions and answers to the text, or the chat messages, of one prompt.

A prompt is built as parts: a message and the delimiter that follows it in plain text. A chat drops the delimiters.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from lmrun.requests import Context, Message, Role


class PromptError(ValueError):
    """A question or an answer is not text; whoever builds the prompt knows the task and the doc, and says so."""


@dataclass(frozen=True, slots=True)
class Part:
    """One message and what follows it in plain text."""

    role: Role
    content: str
    delimiter: str = ""

    def __str__(self) -> str:
        return self.content + self.delimiter


def join(first: str, second: str, delimiter: str) -> str:
    """Two texts with a delimiter between them, unless one is empty or there is whitespace at the seam already."""
    if not first or not second:
        return first or second
    at_seam = first[-1].isspace() or second[0].isspace()
    return first + second if at_seam else first + delimiter + second


def system_part(instruction: str | None, description: str, delimiter: str) -> list[Part]:
    """The system message, if there is any. Nothing follows it: a description carries its own newlines."""
    text = join(instruction or "", description, delimiter)
    return [Part("system", text)] if text else []


def turn(
    question: Any,
    choices: Sequence[Any] | None,
    answer: Any,
    *,
    prefix: str,
    target_delimiter: str,
    fewshot_delimiter: str = "",
) -> list[Part]:
    """A question with its answer, or (``answer`` None or "") a question that waits for one.

    ``prefix`` is how the answer begins. The delimiter after a question is given even where the answer starts with a
    space, and even after an empty question; after a question with a prefix alone it is given only where neither side
    has whitespace. Raises :class:`PromptError`.
    """
    if not isinstance(question, str):
        raise PromptError(f"the question is {question!r}, which is not text")
    answered = answer is not None and answer != ""
    seam_is_bare = bool(prefix and question) and not (question[-1].isspace() or prefix[0].isspace())
    delimited = seam_is_bare if prefix else answered
    parts = [Part("user", question, target_delimiter if delimited else "")]
    if answered:
        parts.append(Part("assistant", join(prefix, _answer_text(choices, answer), " "), fewshot_delimiter))
    elif prefix:
        parts.append(Part("assistant", prefix))
    return parts


def _answer_text(choices: Sequence[Any] | None, answer: Any) -> str:
    text = answer
    if choices and isinstance(answer, int):
        if not -len(choices) <= answer < len(choices):
            raise PromptError(f"the answer is choice {answer}, and there are {len(choices)} choices")
        text = choices[answer]
    elif isinstance(answer, list):
        if not answer:
            raise PromptError("the answer is an empty list")
        text = answer[0]
    if not isinstance(text, str):
        raise PromptError(f"the answer is {text!r}, which is not text")
    return text


def plain_text(parts: Sequence[Part]) -> str:
    """The prompt as one text."""
    return "".join(map(str, parts))


def chat(parts: Sequence[Part], multiturn: bool) -> tuple[Message, ...]:
    """The prompt as messages.

    ``multiturn`` keeps every example as a turn of its own; else everything between the system message and a prefix of
    the answer becomes one user message.
    """
    if multiturn:
        return tuple(Message(part.role, part.content) for part in parts)
    system = list(parts[:1]) if parts[0].role == "system" else []
    rest = list(parts[len(system) :])
    prefill = [rest.pop()] if rest[-1].role == "assistant" else []
    rest[-1] = replace(rest[-1], delimiter="")
    return tuple(Message(p.role, p.content) for p in (*system, Part("user", plain_text(rest)), *prefill))


def context(parts: Sequence[Part], *, as_chat: bool, multiturn: bool) -> Context:
    """The prompt as a request carries it."""
    return chat(parts, multiturn) if as_chat else plain_text(parts)
