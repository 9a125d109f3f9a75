"""The questions that a probe asks of a server, each once; what comes is kept in the wire's :class:`Found`."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

from lmrun.backends.api import proof
from lmrun.backends.api.call import Asked, Call, Malformed, Post, Ready
from lmrun.backends.api.failures import Failed
from lmrun.backends.api.found import Found
from lmrun.backends.api.hints import listed_models
from lmrun.backends.api.logprobs import next_tokens
from lmrun.backends.api.options import ApiOptions
from lmrun.backends.api.replies import choices, spent
from lmrun.backends.base import ModelSpec, Needs
from lmrun.backends.tokenize import Encoder, Unanswerable
from lmrun.errors import BackendError
from lmrun.requests import Context, Message, Request, Response

TRICKY = "Zürich, Köln & Łódź:  3 × 1,024 = 3072;\n\tnaïve façade — “quoted” 東京 🙂 12345678901"
"""Tokenizers part ways over umlauts, digits, double spaces and what is rare."""
LETTERS = "Write the letters of the alphabet in capitals, without spaces."
_FEW = 16
"""Tokens of an answer that is only looked at. Reasoning models refuse much less."""
_TOP = 20
_TRIES = 3
_BUSY = (429, 503, 529)
"""What a server answers that could answer something else later."""
_LENGTHS = ("max_model_len", "context_length", "context_window", "max_context_length")
"""What vLLM, OpenRouter and Together, Groq, and Mistral and LM Studio call the context."""


class ProbedWire(Protocol):
    """What a probe needs of a wire."""

    base_url: str
    key_env: str
    found: Found

    def calls(self, asked: Sequence[Asked]) -> Iterator[Call | Ready]:
        """Calls for requests; see :class:`~lmrun.backends.api.call.Wire`."""
        ...


class Finding(NamedTuple):
    """What is found out, and how or what came instead."""

    value: Any
    how: str


class Questions:
    """Asks one server about one model."""

    def __init__(self, spec: ModelSpec, options: ApiOptions, wire: ProbedWire) -> None:
        self.spec = spec
        self.options = options
        self.wire = wire
        self.found = wire.found

    def refusal(self, what: str, hint: str) -> BackendError:
        """The error that says what this model cannot be asked."""
        return BackendError(f'model "{self.spec.name}": {what}', hint=hint)

    # -- what is known -------------------------------------------------------------------------------------------------

    @property
    def encoder(self) -> Encoder | None:
        """The tokenizer that the manifest names."""
        from lmrun.backends.api.completions import CompletionsWire

        return self.wire.encoder if isinstance(self.wire, CompletionsWire) else None

    @property
    def as_tokens(self) -> bool:
        """Prompts are going to be sent as token ids."""
        return self.encoder is not None and self.options.prompts != "text" and self.found.tokens is True

    async def _once(self, name: str, find: Callable[[], Awaitable[Finding]]) -> None:
        if name not in self.found.told:
            value, how = await find()
            setattr(self.found, name, value)
            self.found.told[name] = how

    def body(self, **fields: Any) -> dict[str, Any]:
        """A body with what every request has."""
        return {"model": self.spec.model, "temperature": 0.0, **fields, **self.options.extra_body}

    # -- findings ------------------------------------------------------------------------------------------------------

    async def find_context(self, post: Post) -> None:
        """``max_length``: what the list of models says."""
        await self._once("max_length", lambda: self._context(post))

    async def _context(self, post: Post) -> Finding:
        try:
            models = await listed_models(post)
        except Failed as failed:
            if failed.status is None:
                raise  # nothing is reached at all
            return Finding(None, f"no list of models: {failed}")
        entry = next((m for m in models if m.get("id") == self.spec.model), models[0] if len(models) == 1 else {})
        for name in _LENGTHS:
            if isinstance(entry.get(name), int) and entry[name] > 0:
                return Finding(entry[name], f"{entry[name]:,} tokens ({name})")
        return Finding(None, "the list of models does not say")

    async def find_tokens(self, post: Post) -> None:
        """``tokens``: the server counts as many tokens as were sent."""
        if (encoder := self.encoder) is not None:
            await self._once("tokens", lambda: _unless_refused(self._tokens(post, encoder), False))

    async def _tokens(self, post: Post, encoder: Encoder) -> Finding:
        ids = encoder.prompt(TRICKY)
        reply = await post("/completions", self.body(prompt=ids, max_tokens=1))
        choices(reply, 1)
        counted = proof.counted(reply)
        if counted and counted != len(ids):
            return Finding(False, f"{len(ids)} token ids were counted as {counted} tokens")
        return Finding(True, f"{counted} of {len(ids)} counted" if counted else "taken; the server does not count them")

    async def find_same_tokens(self, post: Post) -> None:
        """``same_tokens``: a text on which tokenizers differ has as many tokens there as here."""
        if (encoder := self.encoder) is not None:
            await self._once("same_tokens", lambda: self._same_tokens(post, encoder))

    async def _same_tokens(self, post: Post, encoder: Encoder) -> Finding:
        reply = await post("/completions", self.body(prompt=TRICKY, max_tokens=1))
        counted = proof.counted(reply)
        bare, ours = len(encoder.tokenizer.encode(TRICKY, add_special_tokens=False)), len(encoder.encode(TRICKY))
        how = f"a text has {ours} tokens here and {counted or 'an unknown number of'} there"
        # Whether a BOS is added is a setting of the server, and no other tokenizer.
        return Finding(counted in (ours, bare, bare + 1) if counted else None, how)

    async def find_echo(self, post: Post) -> None:
        """``echo``: proved by what the server generates."""
        server = _Echoing(self, post, self.encoder if self.as_tokens else None)
        await self._once("echo", lambda: _unless_refused(_proved(server), False))

    async def find_prompt_logprobs(self, post: Post) -> None:
        """``prompt_logprobs``: the same for vLLM's own parameter, which names tokens by id."""
        assert self.encoder is not None
        server = _Listing(self, post, self.encoder)
        await self._once("prompt_logprobs", lambda: _unless_refused(_proved(server), False))

    async def find_top_logprobs(self, post: Post) -> None:
        """``top_logprobs``: alternatives for the first token of an answer, which must not be that of a reasoning."""
        await self._once("top_logprobs", lambda: _unless_refused(self._top_logprobs(post), 0))

    async def _top_logprobs(self, post: Post) -> Finding:
        most = post.dialect.max_top_logprobs or _TOP
        fields: dict[str, Any] = {"prompt": "A B C D", "logprobs": most}
        path = "/completions"
        if self.spec.backend == "openai-chat":
            fields = {"messages": [{"role": "user", "content": LETTERS}], "logprobs": True, "top_logprobs": most}
            path = "/chat/completions"
        reply = await post(path, self.body(max_tokens=1, **fields))
        choice = choices(reply, 1)[0]
        if _thinks(reply, choice):
            return Finding(0, "the model thinks first: they would be of its reasoning, not of its answer")
        alternatives = next_tokens(choice)
        values = list(alternatives.by_text.values())
        if len(values) > 1 and len(set(values)) == 1:
            return Finding(0, f"all of them are {values[0]}")
        return Finding(alternatives.count, f"{alternatives.count} alternatives")

    async def find_answers(self, post: Post, needs: Needs) -> None:
        """``answers``: one small request of the kind that the run sends; its dialect is repaired on the way."""
        await self._once("answers", lambda: self._answers(post, needs))

    async def _answers(self, post: Post, needs: Needs) -> Finding:
        response = await self._ask(post, self._question(needs))
        return Finding(True, f"{response.completion_tokens} tokens" if response else "too long for a small request")

    def _question(self, needs: Needs) -> Request:
        context: Context = (Message("user", LETTERS),) if needs.messages else LETTERS
        generation: dict[str, Any] = {
            "until": [f"<stop {i}>" for i in range(needs.most_stops)],
            "max_gen_toks": _FEW,
            **({"do_sample": True, "temperature": 1.0} if needs.sampled else {}),
        }
        return Request("generate_until", context, generation=generation, seed=1 if needs.sampled else None)

    async def find_rolling(self, post: Post) -> None:
        """``rolling``: a text is scored without a tokenizer; refused where nothing stands before its first token."""
        await self._once("rolling", lambda: self._rolling(post))

    async def _rolling(self, post: Post) -> Finding:
        response = await self._ask(post, Request("loglikelihood_rolling", continuation=LETTERS))
        if response is not None and response.error:
            raise self.refusal(
                f"loglikelihood_rolling requests cannot be answered without a tokenizer: {response.error.message}",
                'tokenizer = "hub id or folder" of the model: texts are then sent as tokens',
            )
        return Finding(True, "a text is scored from its first token on")

    async def find_prefill(self, post: Post) -> None:
        """``prefill``: the alphabet goes on with B after an A."""
        await self._once("prefill", lambda: _unless_refused(self._prefill(post), False))

    async def _prefill(self, post: Post) -> Finding:
        plain = Message("user", LETTERS)
        opened = await self._ask(post, _short(plain, Message("assistant", "A")))
        said = ((opened.text if opened else "") or "").strip(" ,\n").upper()
        if said.startswith("B"):
            return Finding(True, f"after A comes {said[:10]!r}")
        if said.startswith("A"):
            return Finding(False, f"after A comes {said[:10]!r}: the answer starts over")
        # A model that does not know the alphabet: an answer that is opened with one token is a prompt longer by that
        # token; a turn that was closed, and another one begun, adds more.
        alone = await self._ask(post, _short(plain))
        if not opened or not alone or not opened.prompt_tokens or not alone.prompt_tokens:
            return Finding(None, "the answer does not tell, and prompt tokens are not counted")
        more = opened.prompt_tokens - alone.prompt_tokens
        return Finding(0 <= more <= 1, f"the prompt is {more} tokens longer with an A behind it")

    async def _ask(self, post: Post, request: Request) -> Response | None:
        """Answer a request as the run does; None where the model wants to say more than it may."""
        call = self.call(request)
        for tried in range(1, _TRIES + 1):
            try:
                return call.read(await post(call.path, call.body))[0]
            except Malformed as problem:
                if tried == _TRIES:
                    raise self.refusal(
                        f"{_TRIES} answers in a row could not be read: {problem}",
                        "is base_url the address of this protocol? `lmrun doctor MANIFEST` tells more",
                    ) from problem
            except Failed as failed:
                if _is_about_length(failed):
                    return None
                raise
        raise AssertionError  # the loop always ends by itself

    def call(self, request: Request) -> Call:
        """A request as the run would send it."""
        try:
            call = next(iter(self.wire.calls([Asked(0, request)])))
        except Unanswerable as error:
            raise self.refusal(str(error), "`lmrun doctor MANIFEST` tells what works") from error
        if isinstance(call, Ready):
            why = call.response.error.message if call.response.error else "there is nothing to ask"
            raise self.refusal(why, "`lmrun doctor MANIFEST` tells what works")
        return call


async def _unless_refused(question: Awaitable[Finding], otherwise: Any) -> Finding:
    """What is found, or ``otherwise`` where the server does not take the question or answers something else."""
    try:
        return await question
    except Malformed as problem:
        return Finding(otherwise, str(problem))
    except Failed as failed:
        if failed.fatal or failed.status is None or failed.status in _BUSY:
            raise
        return Finding(otherwise, f"refused with {failed}")


async def _proved(server: proof.Server) -> Finding:
    wrong = await proof.fault(server)
    return Finding(wrong is None, wrong or "a token has the same log-probability in a prompt as when it is generated")


class _Echoing:
    """Asks about prompts by ``echo``."""

    def __init__(self, questions: Questions, post: Post, encoder: Encoder | None) -> None:
        self._questions, self._post, self._encoder = questions, post, encoder

    async def next(self, text: str) -> proof.Next:
        """The greedy token behind a text."""
        return proof.read_next(await self._ask(self._prompt(text)))

    async def score(self, text: str) -> proof.Prompt:
        """The log-probabilities of a text."""
        prompt = self._prompt(text)
        tokens = None if isinstance(prompt, str) else prompt
        return proof.read_echo(await self._ask(prompt, echo=True), text, tokens)

    def _prompt(self, text: str) -> str | list[int]:
        return self._encoder.encode(text) if self._encoder else text

    async def _ask(self, prompt: str | list[int], **fields: Any) -> Mapping[str, Any]:
        return await self._post("/completions", self._questions.body(prompt=prompt, max_tokens=1, logprobs=1, **fields))


class _Listing(_Echoing):
    """Asks about prompts by ``prompt_logprobs``, which names tokens by their ids."""

    def __init__(self, questions: Questions, post: Post, encoder: Encoder) -> None:
        super().__init__(questions, post, encoder)
        self._encode = encoder.encode

    async def next(self, text: str) -> proof.Next:
        """The greedy token behind a text, spelled by its id; as nothing where it is more than one token."""
        new = await super().next(text)
        tokens = self._encode(text + new.text)
        token = f"token_id:{tokens[-1]}" if tokens[:-1] == self._encode(text) else ""
        return new._replace(token=token)

    async def score(self, text: str) -> proof.Prompt:
        """The log-probabilities of a text."""
        tokens = self._encode(text)
        return proof.read_prompt_logprobs(await self._ask(tokens, prompt_logprobs=1), tokens)


def _short(*messages: Message) -> Request:
    return Request("generate_until", messages, generation={"max_gen_toks": _FEW})


def _thinks(reply: Mapping[str, Any], choice: Mapping[str, Any]) -> bool:
    cost, message = spent(reply), choice.get("message")
    apart = isinstance(message, Mapping) and bool(message.get("reasoning_content") or message.get("reasoning"))
    return apart or bool(cost and cost.reasoning_tokens)


def _is_about_length(failed: Failed) -> bool:
    """A refusal because the model did not come to an end, or could not think, within so few tokens."""
    said = failed.message.lower()
    return failed.status == 400 and any(
        words in said for words in ("output limit was reached", "budget_tokens", "max_tokens or model output limit")
    )
