"""From text to token ids: the one place where local backends decide which tokens a model sees.

The rules are those of lm-eval 0.4.13, so that scores compare: the join of context and continuation, which special
tokens are added, the token before the first one, windows over long texts. Where lm-eval would stop with an assertion,
a request is still answered or turned into an error that says why (:class:`Unanswerable`).

Works on a tokenizer object of transformers without importing it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, Literal, NamedTuple, Protocol, TypeAlias, get_args

from lmrun.backends.segments import Segments
from lmrun.requests import Context, Message, Request, Response, ResponseError, context_as_json

Tokens: TypeAlias = Sequence[int]
Join: TypeAlias = Literal["joint", "remerged", "split"]
"""How context and continuation were joined.

``joint``: context + continuation is the encoding of the whole text.
``remerged``: a token of the whole text spans the join. Scored is what lm-eval scores: the context encoded alone,
followed by the whole text's tokens from that length on.
``split``: a token of the whole text swallowed the continuation, which is therefore encoded alone.
"""

TooLong: TypeAlias = Literal["left", "middle", "error", "skip"]
"""What becomes of a prompt that does not fit: it is cut, or not answered, or left out."""
TOO_LONG: tuple[TooLong, ...] = get_args(TooLong)


class Tokenizer(Protocol):
    """The part of a transformers tokenizer that is used here."""

    bos_token: str | None
    bos_token_id: int | None
    eos_token_id: int | None
    chat_template: Any

    def encode(self, text: str, *, add_special_tokens: bool = True) -> list[int]:
        """Token ids of a text."""
        ...

    def decode(self, token_ids: Tokens, *, skip_special_tokens: bool = False) -> str:
        """Text of token ids."""
        ...

    def apply_chat_template(
        self,
        conversation: Sequence[Mapping[str, Any]],
        *,
        tokenize: bool,
        add_generation_prompt: bool,
        continue_final_message: bool,
        chat_template: str | None = None,
    ) -> Any:
        """A conversation as the model's text."""
        ...


_READ_AHEAD = 128
"""Requests whose texts are encoded together."""
BYTES_PER_TOKEN = 4
"""Of text, about."""


def estimated_tokens(*texts: str) -> int:
    """How many tokens texts have together, about."""
    return -(-sum(len(text.encode("utf-8", "surrogatepass")) for text in texts) // BYTES_PER_TOKEN)


class Unanswerable(Exception):  # noqa: N818 - the state of a request, not a fault of the program
    """A request that this model cannot be asked; becomes the error of its response."""

    def __init__(self, kind: str, message: str, *, skip: bool = False) -> None:
        super().__init__(message)
        self.kind = kind
        self.skip = skip
        """The manifest wants such requests left out."""

    def response(self) -> Response:
        """What stands in place of an answer."""
        if self.skip:
            return Response(skipped=str(self))
        return Response(error=ResponseError(self.kind, str(self)))


class Pair(NamedTuple):
    """A context and the continuation whose tokens are scored; neither is empty."""

    context: Tokens
    continuation: Tokens
    join: Join


class Window(NamedTuple):
    """A stretch of a long text: ``predicted`` is scored given ``context``, which overlaps nothing of it."""

    context: Tokens
    predicted: Tokens


class Cut(NamedTuple):
    """Tokens as the model gets them, after what did not fit was dropped."""

    inputs: Tokens
    dropped: int


@dataclass(frozen=True, slots=True)
class Prompt:
    """A context as text, ready to be encoded."""

    text: str
    notes: Mapping[str, Any] = field(default_factory=dict)


@dataclass(slots=True)
class _Ahead:
    """What is ready for the next requests."""

    ids: dict[tuple[str, bool], list[int]] = field(default_factory=dict)
    """By text, and whether special tokens were to be added."""
    prompts: dict[tuple[Message, ...], Prompt] = field(default_factory=dict)


class Encoder:
    """Encodes requests for one model.

    Args:
        tokenizer: of transformers, fast or slow.
        add_bos_token: add special tokens to every text, or to none; None leaves it to the tokenizer.
        template_name: which of the tokenizer's chat templates; None for its default.
    """

    def __init__(
        self, tokenizer: Tokenizer, *, add_bos_token: bool | None = None, template_name: str | None = None
    ) -> None:
        self.tokenizer = tokenizer
        self._add_bos = add_bos_token
        self._template_name = template_name
        self.prefix_token = tokenizer.eos_token_id if tokenizer.bos_token_id is None else tokenizer.bos_token_id
        self._prefix_text = "" if self.prefix_token is None else tokenizer.decode([self.prefix_token])
        # Choices of one doc follow each other with the same context.
        self._last_context: tuple[str | None, list[int]] = (None, [])
        self._ahead = _Ahead()
        self._segments = Segments.of(tokenizer)

    # -- many at once --------------------------------------------------------------------------------------------------

    def ahead(self, requests: Iterable[Request]) -> Iterator[Request]:
        """The same requests; the texts of many are encoded together, before the first of them is handed on.

        It changes no token: each text is encoded as by itself, only the tokenizer is called once for all of them.
        """
        waiting = iter(requests)
        while page := list(islice(waiting, _READ_AHEAD)):
            self._ahead = _Ahead()
            if getattr(self.tokenizer, "is_fast", False):
                self._encode_together(page)
            yield from page
        self._ahead = _Ahead()

    def _encode_together(self, page: Sequence[Request]) -> None:
        wanted: defaultdict[bool, dict[str, None]] = defaultdict(dict)
        for request in page:
            with suppress(Unanswerable):  # for who asks for its tokens
                for text, bos in self._texts(request):
                    wanted[self._adds_special(text, bos)][text] = None
        if self._segments:
            self._segments.prepare(text for texts in wanted.values() for text in texts)
            return
        for special, texts in wanted.items():
            tokenizer: Any = self.tokenizer
            found = tokenizer(list(texts), add_special_tokens=special, return_attention_mask=False)["input_ids"]
            self._ahead.ids.update(zip(((text, special) for text in texts), found, strict=True))

    def _texts(self, request: Request) -> Iterator[tuple[str, str]]:
        """What is encoded of a request, each text with the BOS that it may bring along."""
        if request.kind == "loglikelihood_rolling":
            yield request.continuation, self._prefix_text
            return
        prompt = self.render(request.context)
        if not isinstance(request.context, str):
            self._ahead.prompts[request.context] = prompt
        text = prompt.text
        if request.kind == "generate_until":
            yield text, self.tokenizer.bos_token or ""
        elif text:
            yield text.rstrip(), self._prefix_text
            yield text + request.continuation, self._prefix_text

    # -- special tokens ------------------------------------------------------------------------------------------------

    def encode(self, text: str) -> list[int]:
        """Token ids of a text to be scored, with the special tokens that the tokenizer adds."""
        return self._encode(text, self._prefix_text)

    def _choice(self, text: str) -> list[int]:
        """The same for one of several texts with one beginning."""
        return self._encode(text, self._prefix_text, shared=True)

    def prompt(self, text: str) -> list[int]:
        """Token ids of a text to be continued; never empty."""
        return self._encode(text, self.tokenizer.bos_token or "") or [self._prefix("an empty prompt")]

    def _encode(self, text: str, bos: str, *, shared: bool = False) -> list[int]:
        special = self._adds_special(text, bos)
        ids = self._ids(text, special, shared)
        first = self.tokenizer.bos_token_id
        # Some tokenizers have a BOS but no rule to add it; who asks for one in the manifest gets it.
        return [first, *ids] if special and self._add_bos and first is not None and ids[:1] != [first] else ids

    def _ids(self, text: str, special: bool, shared: bool) -> list[int]:
        if self._segments:
            return self._segments.encode(text, special=special, shared=shared)
        ids = self._ahead.ids.get((text, special))
        return self.tokenizer.encode(text, add_special_tokens=special) if ids is None else ids

    def _adds_special(self, text: str, bos: str) -> bool:
        """Whether the tokenizer is to add special tokens, if it does."""
        if bos and text.startswith(bos):
            return False  # the text, a rendered chat for example, brings its BOS along: never a second one
        return self._add_bos is not False

    def _prefix(self, what: str) -> int:
        if self.prefix_token is None:
            raise Unanswerable("no_prefix_token", f"{what} needs a BOS or EOS token, and the tokenizer has neither")
        return self.prefix_token

    # -- scoring -------------------------------------------------------------------------------------------------------

    def pair(self, context: str, continuation: str) -> Pair:
        """The tokens of a context and of the continuation to be scored.

        Whitespace at the end of the context moves to the front of the continuation, then both are encoded together.
        """
        text, continuation = _moved(context, continuation)
        if not context:
            return self._unconditional(continuation)
        own = self._context(text)
        whole = self._choice(text + continuation)
        scored = whole[len(own) :]
        if not scored:
            alone = self.tokenizer.encode(continuation, add_special_tokens=False)
            if not alone:
                raise Unanswerable("empty_continuation", f"{continuation!r} has no tokens")
            return Pair(own or [self._prefix("an empty context")], alone, "split")
        join: Join = "joint" if whole[: len(own)] == own else "remerged"
        return Pair(own or [self._prefix("an empty context")], scored, join)

    def apart(self, context: str, continuation: str) -> Pair:
        """The same for a model with an encoder: both are encoded apart, the continuation without special tokens."""
        text, continuation = _moved(context, continuation)
        if not context:
            return self._unconditional(continuation)
        scored = self.tokenizer.encode(continuation, add_special_tokens=False)
        if not scored:
            raise Unanswerable("empty_continuation", f"{continuation!r} has no tokens")
        return Pair(self._context(text) or [self._prefix("an empty context")], scored, "joint")

    def _unconditional(self, continuation: str) -> Pair:
        scored = self.tokenizer.encode(continuation, add_special_tokens=False)
        if not scored:
            raise Unanswerable("empty_continuation", f"{continuation!r} has no tokens")
        prefix = self._prefix("an empty context")
        if scored[0] == prefix and len(scored) > 1:
            return Pair(scored[:1], scored[1:], "joint")
        return Pair([prefix], scored, "joint")

    def _context(self, text: str) -> list[int]:
        if self._last_context[0] != text:
            self._last_context = (text, self._choice(text))
        return self._last_context[1]

    def windows(self, text: str, max_length: int) -> list[Window]:
        """A long text as windows that score each of its tokens once."""
        tokens = self.encode(text)
        return list(rolling_windows(tokens, self._prefix("a rolling text"), max_length)) if tokens else []

    def count(self, request: Request) -> int:
        """Prompt tokens of a request, those to be scored included; before anything is cut to fit.

        A continuation is counted apart from its context, which other choices share: a token at the seam may differ.

        Raises:
            Unanswerable: the messages do not go into the chat template.
        """
        text = self.render(request.context).text
        if request.kind == "generate_until":
            return len(self.prompt(text))
        context = text.rstrip()
        continuation = text[len(context) :] + request.continuation
        own = len(self._context(context)) if context else 0
        return own + len(self.tokenizer.encode(continuation, add_special_tokens=False))

    # -- chats ---------------------------------------------------------------------------------------------------------

    def has_chat_template(self) -> bool:
        """Whether contexts may be messages."""
        return bool(self.tokenizer.chat_template)

    def render(self, context: Context) -> Prompt:
        """A context as text; messages are put into the model's chat template.

        A last message of the assistant is left open for the model to continue. A template that refuses system
        messages gets the chat without them, and the response says so.
        """
        if isinstance(context, str):
            return Prompt(context)
        return self._ahead.prompts.get(context) or self._render(context)

    def _render(self, context: tuple[Message, ...]) -> Prompt:
        from jinja2 import TemplateError

        try:
            return Prompt(self._apply_template(context))
        except TemplateError as error:
            others = tuple(m for m in context if m.role != "system")
            if not others or len(others) == len(context):
                raise _bad_chat(error) from error
            reason = str(error)
        except ValueError as error:
            raise _bad_chat(error) from error
        try:
            return Prompt(self._apply_template(others), {"system_message": f"left out: {reason}"})
        except (TemplateError, ValueError) as error:
            raise _bad_chat(error) from error

    def _apply_template(self, messages: tuple[Message, ...]) -> str:
        prefilled = bool(messages) and messages[-1].role == "assistant"
        conversation = context_as_json(messages)
        rendered: str = self.tokenizer.apply_chat_template(
            conversation,  # type: ignore[arg-type]
            tokenize=False,
            add_generation_prompt=not prefilled,
            continue_final_message=prefilled,
            chat_template=self._template_name,
        )
        return rendered


def _moved(context: str, continuation: str) -> tuple[str, str]:
    """A pair with the white space at the end of the context moved to the front of the continuation."""
    text = context.rstrip()
    continuation = context[len(text) :] + continuation
    if not continuation:
        raise Unanswerable("empty_continuation", "there is no text to score")
    return text, continuation


def _bad_chat(error: Exception) -> Unanswerable:
    return Unanswerable("chat_template_failed", f"the chat template refuses these messages: {error}")


def rolling_windows(tokens: Tokens, prefix: int, max_length: int) -> Iterator[Window]:
    """Windows of at most ``max_length`` input tokens that predict every token exactly once.

    The first predicts as much as fits after ``prefix``. Each later one predicts the next stretch; a short last one is
    given as much of what stands before it as fits.
    """
    start = 0
    while start < len(tokens):
        end = min(start + max_length, len(tokens))
        if start == 0:
            yield Window([prefix], tokens[:end])
        else:
            yield Window(tokens[max(end - max_length - 1, 0) : start], tokens[start:end])
        start = end


def cut_pair(context: Tokens, continuation: Tokens, max_length: int, too_long: TooLong = "left") -> Cut:
    """Model input that scores a continuation: all but its last token, the context cut so that it is ``max_length``.

    Raises:
        Unanswerable: the continuation alone is longer than that, or the context must not be cut.
    """
    if len(continuation) > max_length:
        raise Unanswerable(
            "continuation_too_long", f"{len(continuation)} tokens to score, but the model takes {max_length} at most"
        )
    cut = _cut(context, max_length + 1 - len(continuation), too_long)
    return Cut([*cut.inputs, *continuation][:-1], cut.dropped)


def cut_prompt(tokens: Tokens, max_length: int, max_new_tokens: int, too_long: TooLong = "left") -> Cut:
    """A prompt cut so that ``max_new_tokens`` still fit behind it.

    Raises:
        Unanswerable: nothing of the prompt would be left, or it must not be cut.
    """
    room = max_length - max_new_tokens
    if room <= 0:
        raise Unanswerable(
            "max_gen_toks_too_large",
            f"max_gen_toks is {max_new_tokens}, and the model takes {max_length} tokens, prompt included: none is left",
        )
    return _cut(tokens, room, too_long)


def _cut(tokens: Tokens, room: int, too_long: TooLong) -> Cut:
    dropped = len(tokens) - room
    if dropped <= 0:
        return Cut(tokens, 0)
    if too_long in ("error", "skip"):
        message = f"the prompt has {len(tokens)} tokens, and there is room for {room}"
        raise Unanswerable("prompt_too_long", message, skip=too_long == "skip")
    # The beginning has the BOS and what the chat template begins with, the end has the question.
    head = room // 2 if too_long == "middle" else 0
    return Cut([*tokens[:head], *tokens[head + dropped :]], dropped)
