"""What the model was given: text or messages, examples apart from the question, and what was asked with it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from lmrun.requests import Context, Message, Request
from lmrun.store.records import Exchange, JobView, SampleDetail
from lmrun.tui.text import one_line
from lmrun.tui.widgets.sample.lines import BLANK, Line, Piece, flow, rule

_MARGIN = "│ "


class Part(NamedTuple):
    """A stretch of a prompt."""

    title: str
    style: str
    text: str


def prompt_lines(detail: SampleDetail, job: JobView) -> Iterator[Line]:
    """The prompts of a sample, each once, and below each what was scored or generated with it."""
    groups = _groups([e for e in detail.exchanges if not e.repeat])
    if not groups:
        yield Line("nothing was asked", "dim")
    for number, (context, exchanges) in enumerate(groups, start=1):
        if number > 1:
            yield BLANK
        if len(groups) > 1:
            yield rule(f"prompt {number} of {len(groups)}", style="strong")
        if exchanges[0].request.kind != "loglikelihood_rolling":
            for part in parts(context, job):
                yield rule(part.title, style=part.style)
                yield from flow([Piece(part.text)], style=_faded(part), gutter=_MARGIN, gutter_style=part.style)
        yield from _asked([e.request for e in exchanges])


def _faded(part: Part) -> str:
    return "example" if part.style == "example" else ""


def _groups(exchanges: Sequence[Exchange]) -> list[tuple[Context, list[Exchange]]]:
    """Exchanges that share a prompt, in order."""
    groups: list[tuple[Context, list[Exchange]]] = []
    for exchange in exchanges:
        if not groups or groups[-1][0] != exchange.request.context:
            groups.append((exchange.request.context, []))
        groups[-1][1].append(exchange)
    return groups


def parts(context: Context, job: JobView) -> list[Part]:
    """A prompt cut into description, examples and question, as far as that can be told."""
    if isinstance(context, str):
        return _text_parts(context, job, "prompt", "user")
    asked = [message for message in context if message.role == "user"]
    shots = job.num_fewshot if len(asked) == job.num_fewshot + 1 else 0
    if len(asked) == 1 and job.num_fewshot:
        return [part for message in context for part in _message_parts(message, job)]
    return list(_turns(context, shots))


def _turns(context: Sequence[Message], shots: int) -> Iterator[Part]:
    number = 0
    for message in context:
        number += message.role == "user"
        if 0 < number <= shots:
            yield Part(f"{message.role} · example {number} of {shots}", "example", message.content)
        elif message is context[-1] and message.role == "assistant":
            yield Part("assistant · the answer begins so", "assistant", message.content)
        else:
            yield Part(message.role, message.role, message.content)


def _message_parts(message: Message, job: JobView) -> list[Part]:
    if message.role != "user":
        return [Part(message.role, message.role, message.content)]
    return _text_parts(message.content, job, "user", "user")


def _text_parts(text: str, job: JobView, title: str, style: str) -> list[Part]:
    """Examples and question stand apart where the delimiter occurs as often as there are examples."""
    shots, delimiter = job.num_fewshot, job.config.get("fewshot_delimiter")
    if not shots or not isinstance(delimiter, str) or not delimiter:
        return [Part(title, style, text)]
    description = job.config.get("description")
    before = description if isinstance(description, str) and description and text.startswith(description) else ""
    pieces = text[len(before) :].split(delimiter)
    if len(pieces) != shots + 1:
        return [Part(f"{title} · {shots} examples and the question", style, text)]
    found = [Part("description", "system", before.rstrip("\n"))] if before else []
    examples = [Part(f"example {i} of {shots}", "example", piece) for i, piece in enumerate(pieces[:-1], start=1)]
    return [*found, *examples, Part("question" if title == "prompt" else f"{title} · question", style, pieces[-1])]


def _asked(requests: Sequence[Request]) -> Iterator[Line]:
    first = requests[0]
    if first.kind == "generate_until":
        yield rule("the model goes on here", generation_words(first), style="assistant")
        return
    if first.kind == "loglikelihood_rolling":
        yield rule("text", f"{len(first.continuation):,} characters, all of them scored", style="user")
        yield from flow([Piece(first.continuation)], gutter=_MARGIN, gutter_style="user")
        return
    several = f"{len(requests)} continuations" if len(requests) > 1 else "the continuation"
    yield rule("scored", several, style="assistant")
    for request in requests:
        yield from flow([Piece(request.continuation)], gutter="┃", gutter_style="join")


def generation_words(request: Request) -> str:
    """``until ⏎ or Question:, max_gen_toks 48``."""
    until = request.generation.get("until")
    stops = [until] if isinstance(until, str) else until if isinstance(until, list) else []
    words = ["until " + " or ".join(one_line(str(stop), 40) for stop in stops)] if stops else []
    for name, value in request.generation.items():
        if name != "until" and value is not False:
            words.append(one_line(name if value is True else f"{name} {value}", 100))
    if request.seed is not None:
        words.append(f"seed {request.seed}")
    return ", ".join(words)
