"""What two sides made of one doc, as text that is safe to show."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from textual.content import Content

from lmrun.display.format import brief, number
from lmrun.requests import Context
from lmrun.store.browse import gold_choices
from lmrun.store.records import Exchange, SampleDetail
from lmrun.tui.text import fit, one_line, shown
from lmrun.tui.widgets.compare.words import drawn_diff

_QUESTION = 1500
"""Characters of a prompt that are shown, from its end: there the question is."""
_QUESTION_LINES = 8


@dataclass(frozen=True, slots=True)
class DrawnPair:
    """Two samples of one doc, ready to be shown."""

    title: str
    question: Content
    choices: Content | None
    """Log-likelihoods of the choices, in place of texts."""
    titles: tuple[str, str]
    texts: tuple[Content, Content]


def draw_pair(a: SampleDetail, b: SampleDetail, *, other_prompt: bool) -> DrawnPair:
    """Everything about one pair; takes a while where texts are long."""
    choices = _choices(a, b) if a.choices and b.choices and _scores_text(a) and _scores_text(b) else None
    texts = (_facts(a), _facts(b)) if choices is not None else _texts(a, b)
    return DrawnPair(
        title=f"doc {a.row.doc_id}" + (" · ≠ other prompt" if other_prompt else ""),
        question=Content("\n").join([*_question(a, other_prompt=other_prompt), _gold(a)]),
        choices=choices,
        titles=(_title("A", a), _title("B", b)),
        texts=texts,
    )


def mark(status: str, correct: bool | None) -> str:
    """Right, wrong, an error, or neither."""
    return "!" if status == "error" else {True: "✓", False: "✗", None: "·"}[correct]


def _title(letter: str, detail: SampleDetail) -> str:
    row = detail.row
    traits = {
        "cut off": row.truncated,
        "refused": row.refused,
        "no match": row.no_match,
        "prompt cut": row.dropped > 0,
        "skipped": row.status == "skipped",
    }
    flags = "".join(f" · {name}" for name, on in traits.items() if on)
    return one_line(f"{letter} {mark(row.status, row.correct)} {row.model}{flags}")


def _scores_text(detail: SampleDetail) -> bool:
    return bool(detail.exchanges) and detail.exchanges[0].request.kind == "loglikelihood"


def _question(detail: SampleDetail, *, other_prompt: bool) -> list[Content]:
    if not detail.exchanges:
        return []
    request = detail.exchanges[0].request
    text = request.continuation if request.kind == "loglikelihood_rolling" else _last_words(request.context)
    lines = shown(text[-_QUESTION:]).plain.strip("\n").split("\n")
    cut = len(text) > _QUESTION or len(lines) > _QUESTION_LINES
    words = ("… " if cut else "") + "\n".join(lines[-_QUESTION_LINES:])
    note = [Content.styled("≠ the prompts differ; this is A's", "$text-warning")] if other_prompt else []
    return [*note, Content.styled(words, "$foreground-muted")]


def _last_words(context: Context) -> str:
    if isinstance(context, str):
        return context
    return next((message.content for message in reversed(context) if message.role == "user"), "")


def _gold(detail: SampleDetail) -> Content:
    golds = sorted(gold_choices(detail.target, detail.choices)) if detail.choices else []
    words = " | ".join(detail.choices[place] for place in golds) if golds and detail.choices else _plain(detail.target)
    return Content.assemble(("gold  ", "bold $text-success"), one_line(words, 500))


def _plain(value: Any) -> str:
    return value if isinstance(value, str) else number(value)


def _choices(a: SampleDetail, b: SampleDetail) -> Content:
    """One line per choice: gold, who picked it, its words, its log-likelihood on both sides."""
    choices = list(a.choices or ())
    sides = [_log_likelihoods(detail, len(choices)) for detail in (a, b)]
    picks = [_best(values) for values in sides]
    golds = gold_choices(a.target, choices)
    width = max(12, min(44, max(len(choice) for choice in choices) + 1))
    lines = [Content.styled(f"gold pick  {fit('choice', width)}{'A':>10}{'B':>10}{'B−A':>10}", "$foreground-muted")]
    for place, choice in enumerate(choices):
        gold = " ✓  " if place in golds else "    "
        picked = "".join(letter if pick == place else "·" for letter, pick in zip("AB", picks, strict=True))
        one, two = (values[place] for values in sides)
        delta = f"{two - one:+10.3f}" if one is not None and two is not None else f"{'–':>10}"
        lines.append(
            Content.assemble(
                (gold, "bold $text-success"),
                (f" {picked}    ", "bold" if place in picks else "$foreground-muted"),
                (fit(one_line(choice), width), "bold" if gold.strip() else ""),
                (_log(one), "bold" if picks[0] == place else ""),
                (_log(two), "bold" if picks[1] == place else ""),
                (delta, "$foreground-muted"),
            )
        )
    return Content("\n").join(lines)


def _log_likelihoods(detail: SampleDetail, count: int) -> list[float | None]:
    """Of each choice in turn. Requests after them are others, such as those without the question."""
    first = [exchange for exchange in detail.exchanges if exchange.repeat == 0][:count]
    values = [exchange.response.logprob if exchange.response else None for exchange in first]
    return values + [None] * (count - len(values))


def _best(values: Sequence[float | None]) -> int | None:
    known = [(value, -place) for place, value in enumerate(values) if value is not None]
    return -max(known)[1] if known else None


def _log(value: float | None) -> str:
    return f"{value:10.3f}" if value is not None else f"{'–':>10}"


def _texts(a: SampleDetail, b: SampleDetail) -> tuple[Content, Content]:
    left, right = drawn_diff(_answer(a), _answer(b))
    return Content("\n").join([left, _facts(a)]), Content("\n").join([right, _facts(b)])


def _answer(detail: SampleDetail) -> str:
    return "\n".join(_words(exchange) for exchange in detail.exchanges if exchange.repeat == 0)


def _words(exchange: Exchange) -> str:
    response = exchange.response
    if response is None:
        return "(not answered)"
    if response.error:
        return f"(error: {response.error.kind}: {response.error.message})"
    if response.logprob is not None and exchange.request.kind != "generate_until":
        greedy = {True: ", the model's own choice", False: ", not the model's own choice", None: ""}[response.is_greedy]
        words = "" if exchange.request.kind == "loglikelihood_rolling" else f"{exchange.request.continuation!r}: "
        return f"{words}log-likelihood {response.logprob:.3f}{greedy}"
    return response.text if response.text else "(empty)"


def _facts(detail: SampleDetail) -> Content:
    """What was made of the answer, under it."""
    lines = []
    repeats = max((exchange.repeat for exchange in detail.exchanges), default=0)
    if repeats:
        lines.append(f"the first of {repeats + 1} answers")
    reasoning = sum(len((e.response.reasoning or "").split()) for e in detail.exchanges if e.response and not e.repeat)
    if reasoning:
        lines.append(f"{brief(reasoning)} words of reasoning before it")
    if detail.row.error:
        lines.append(f"error: {one_line(detail.row.error['kind'])}: {one_line(detail.row.error['message'])}")
    for score in detail.scores:
        found = ""
        if score.extraction:
            value = score.filtered[0] if isinstance(score.filtered, list) and score.filtered else score.filtered
            found = f"{one_line(_plain(value), 80)} ({score.extraction.replace('_', ' ')}) → "
        metrics = "  ".join(f"{one_line(name)} {one_line(number(value), 60)}" for name, value in score.metrics.items())
        pipeline = "" if score.filter == "none" else f"{one_line(score.filter)}: "
        lines.append(pipeline + found + metrics)
    return Content.styled("\n".join(lines), "$foreground-muted")
