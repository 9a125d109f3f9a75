"""Which tokens a model sees: joins, special tokens, windows, cuts, chats."""

from __future__ import annotations

from itertools import chain
from typing import Any
from unittest import mock

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lmrun.backends.tokenize import Encoder, Tokenizer, TooLong, Unanswerable, cut_pair, cut_prompt, rolling_windows
from lmrun.requests import Context, Message, Request
from tests.backends import make

pieces = st.one_of(
    st.sampled_from(
        [*make.WORDS, " ", "\n", "\n\n", ":", "?", "Ans", "wer", "<|begin|>", "<|end|>", "é", "\U0001f600"]
    ),
    st.text(max_size=3),
)
texts = st.lists(pieces, max_size=8).map("".join)
kinds = st.sampled_from(make.TOKENIZERS)


def encoder(tokenizers: dict[str, Tokenizer], kind: str, **options: Any) -> Encoder:
    return Encoder(tokenizers[kind], **options)


@settings(deadline=None)
@given(kind=kinds, context=texts, continuation=texts, add_bos=st.sampled_from([None, True, False]))
def test_a_continuation_is_scored_whole_or_refused(
    tokenizers: dict[str, Tokenizer], kind: str, context: str, continuation: str, add_bos: bool | None
) -> None:
    encode = encoder(tokenizers, kind, add_bos_token=add_bos)
    try:
        pair = encode.pair(context, continuation)
    except Unanswerable as error:
        assert error.kind == "empty_continuation"
        return
    assert len(pair.context) > 0
    assert len(pair.continuation) > 0
    if context.strip() and pair.join == "joint":
        assert [*pair.context, *pair.continuation] == encode.encode(context + continuation)


@settings(deadline=None)
@given(kind=kinds, context=texts, continuation=texts)
def test_the_join_is_that_of_lm_eval(
    tokenizers: dict[str, Tokenizer], kind: str, context: str, continuation: str
) -> None:
    """The rule as lm-eval 0.4.13 states it, wherever it leaves tokens on both sides of the join."""
    encode = encoder(tokenizers, kind).encode
    n_spaces = len(context) - len(context.rstrip())
    if n_spaces:
        context, continuation = context[:-n_spaces], context[-n_spaces:] + continuation
    before, whole = encode(context), encode(context + continuation)
    if context and before and whole[len(before) :]:
        pair = encoder(tokenizers, kind).pair(context, continuation)
        assert (list(pair.context), list(pair.continuation)) == (before, whole[len(before) :])


@settings(deadline=None)
@given(
    kind=kinds,
    contexts=st.lists(st.one_of(texts, texts.map(lambda text: (Message("user", text),))), max_size=4),
    continuation=texts,
    add_bos=st.sampled_from([None, True, False]),
)
def test_texts_encoded_together_have_the_tokens_that_each_has_alone(
    tokenizers: dict[str, Tokenizer], kind: str, contexts: list[Context], continuation: str, add_bos: bool | None
) -> None:
    asked = [
        request
        for context in contexts
        for request in (
            Request("loglikelihood", context, continuation),
            Request("loglikelihood", context, continuation + " cat"),
            Request("loglikelihood_rolling", continuation=f"{context}"),
            Request("generate_until", context),
        )
    ]
    together, alone = (encoder(tokenizers, kind, add_bos_token=add_bos) for _ in range(2))
    handed_on = []
    for request in together.ahead(asked):
        handed_on.append(request)
        assert _tokens(together, request) == _tokens(alone, request)
    assert handed_on == asked


def _tokens(encode: Encoder, request: Request) -> object:
    try:
        text = encode.render(request.context).text
        if request.kind == "loglikelihood":
            return encode.pair(text, request.continuation)
        if request.kind == "generate_until":
            return encode.prompt(text)
        return encode.windows(request.continuation, 16)
    except Unanswerable as error:
        return error.response()


def test_many_texts_take_one_call_of_the_tokenizer(tokenizers: dict[str, Tokenizer]) -> None:
    encode = encoder(tokenizers, "bytes-bos")
    asked = [Request("loglikelihood", f"the cat {n}", choice) for n in range(40) for choice in (" sat", " fell")]
    ahead = encode.ahead(asked)
    first = next(ahead)
    with mock.patch.object(type(encode.tokenizer), "encode", side_effect=AssertionError("encoded by itself")):
        for request in chain([first], ahead):
            assert isinstance(request.context, str)
            encode.pair(request.context, request.continuation)


def test_a_context_of_white_space_gets_one_bos_also_as_the_first_one(tokenizers: dict[str, Tokenizer]) -> None:
    bos = tokenizers["bytes-bos"].bos_token_id
    assert bos is not None
    pair = encoder(tokenizers, "bytes-bos").pair("\r", "the")
    assert [*pair.context, *pair.continuation].count(bos) == 1


@settings(deadline=None)
@given(kind=kinds, context=texts, continuation=texts)
def test_no_text_gets_a_second_bos(
    tokenizers: dict[str, Tokenizer], kind: str, context: str, continuation: str
) -> None:
    bos = tokenizers[kind].bos_token_id
    if bos is None:
        return
    context = context.replace("<|begin|>", "")
    continuation = continuation.replace("<|begin|>", "")
    for text in (context, "<|begin|>" + context):
        encode = encoder(tokenizers, kind)
        assert encode.encode(text).count(bos) == 1
        assert encode.prompt(text).count(bos) == 1
        if continuation.strip():
            pair = encode.pair(text, continuation)
            assert [*pair.context, *pair.continuation].count(bos) == 1


class TestJoin:
    def test_whitespace_at_the_end_of_the_context_belongs_to_the_continuation(
        self, tokenizers: dict[str, Tokenizer]
    ) -> None:
        encode = encoder(tokenizers, "bytes")
        assert encode.pair("the cat ", "sat") == encode.pair("the cat", " sat")
        assert encode.pair("the cat\n\n", "sat") == encode.pair("the cat", "\n\nsat")

    def test_a_continuation_that_a_token_of_the_context_swallows_is_encoded_alone(
        self, tokenizers: dict[str, Tokenizer]
    ) -> None:
        encode = encoder(tokenizers, "bytes")
        assert len(encode.encode("Answer")) == 1
        pair = encode.pair("Ans", "wer")
        assert pair == (encode.encode("Ans"), encode.encode("wer"), "split")

    def test_a_token_over_the_join_is_marked_and_scored_as_upstream_does(
        self, tokenizers: dict[str, Tokenizer]
    ) -> None:
        encode = encoder(tokenizers, "bytes-newlines")
        own, whole = encode.encode("Answer:"), encode.encode("Answer:\nyes")
        assert whole[: len(own)] != own
        pair = encode.pair("Answer:\n", "yes")
        assert pair == (own, whole[len(own) :], "remerged")

    def test_an_empty_context_is_the_prefix_token(self, tokenizers: dict[str, Tokenizer]) -> None:
        for kind in make.TOKENIZERS:
            tokenizer = tokenizers[kind]
            prefix = tokenizer.eos_token_id if tokenizer.bos_token_id is None else tokenizer.bos_token_id
            pair = encoder(tokenizers, kind).pair("", " the cat")
            assert pair.context == [prefix]
            assert list(pair.continuation) == tokenizer.encode(" the cat", add_special_tokens=False)

    def test_a_continuation_that_brings_the_prefix_token_gets_no_second(self, tokenizers: dict[str, Tokenizer]) -> None:
        pair = encoder(tokenizers, "bytes-bos").pair("", "<|begin|>the cat")
        assert [*pair.context, *pair.continuation].count(tokenizers["bytes-bos"].bos_token_id or 0) == 1

    def test_a_context_of_whitespace_alone(self, tokenizers: dict[str, Tokenizer]) -> None:
        encode = encoder(tokenizers, "bytes")
        pair = encode.pair(" \n", "the")
        assert list(pair.context) == [encode.prefix_token]
        assert list(pair.continuation) == encode.encode(" \nthe")

    def test_nothing_to_score(self, tokenizers: dict[str, Tokenizer]) -> None:
        with pytest.raises(Unanswerable, match="no text to score"):
            encoder(tokenizers, "bytes").pair("the cat", "")


class TestSpecialTokens:
    def test_add_bos_token_false_adds_none(self, tokenizers: dict[str, Tokenizer]) -> None:
        encode = encoder(tokenizers, "bytes-bos", add_bos_token=False)
        assert tokenizers["bytes-bos"].bos_token_id not in encode.encode("the cat")

    def test_add_bos_token_true_adds_one_where_the_tokenizer_has_no_rule(
        self, tokenizers: dict[str, Tokenizer]
    ) -> None:
        tokenizer = make.tokenizer("bytes-bos")
        tokenizer.backend_tokenizer.post_processor = None
        encode = Encoder(tokenizer, add_bos_token=True)
        assert encode.encode("the cat")[0] == tokenizer.bos_token_id
        assert encode.encode("<|begin|>the cat").count(tokenizer.bos_token_id) == 1

    def test_an_empty_prompt_is_the_prefix_token(self, tokenizers: dict[str, Tokenizer]) -> None:
        assert encoder(tokenizers, "bytes").prompt("") == [tokenizers["bytes"].eos_token_id]

    def test_a_tokenizer_with_neither_bos_nor_eos(self) -> None:
        tokenizer = make.tokenizer("bytes")
        tokenizer.eos_token = None
        with pytest.raises(Unanswerable, match="neither"):
            Encoder(tokenizer).pair("", "the")


@given(n=st.integers(1, 60), max_length=st.integers(1, 12))
def test_rolling_windows_predict_every_token_once_in_order(n: int, max_length: int) -> None:
    tokens = list(range(100, 100 + n))
    predicted: list[int] = []
    for window in rolling_windows(tokens, 0, max_length):
        inputs = [*window.context, *window.predicted][:-1]
        assert 1 <= len(inputs) <= max_length
        assert len(window.context) >= 1
        start = len(predicted)
        before = [0, *tokens][: start + 1]
        assert list(window.context) == before[len(before) - len(window.context) :]
        predicted += window.predicted
    assert predicted == tokens


@given(n_context=st.integers(0, 20), n_continuation=st.integers(1, 20), max_length=st.integers(1, 20))
def test_a_cut_keeps_the_continuation_and_counts_what_it_drops(
    n_context: int, n_continuation: int, max_length: int
) -> None:
    context, continuation = list(range(n_context + 1)), list(range(100, 100 + n_continuation))
    if n_continuation > max_length:
        with pytest.raises(Unanswerable, match="tokens to score"):
            cut_pair(context, continuation, max_length)
        return
    cut = cut_pair(context, continuation, max_length)
    whole = [*context, *continuation]
    assert list(cut.inputs) == whole[cut.dropped : -1]
    assert len(cut.inputs) == min(len(whole) - 1, max_length)
    assert len(cut.inputs) >= n_continuation


def test_a_prompt_leaves_room_for_the_answer() -> None:
    assert cut_prompt(range(50), 40, 10) == (list(range(20, 50)), 20)
    assert cut_prompt(range(30), 40, 10) == (range(30), 0)
    with pytest.raises(Unanswerable, match="max_gen_toks is 40"):
        cut_prompt(range(5), 40, 40)


@given(n=st.integers(1, 40), room=st.integers(1, 30))
def test_a_cut_in_the_middle_keeps_both_ends(n: int, room: int) -> None:
    cut = cut_prompt(range(n), room + 5, 5, "middle")
    assert len(cut.inputs) == min(n, room) == n - cut.dropped
    assert cut.inputs[-1] == n - 1
    if room > 1:
        assert cut.inputs[0] == 0
    kept = room // 2 if cut.dropped else n
    assert list(cut.inputs) == [*range(kept), *range(kept + cut.dropped, n)]


@pytest.mark.parametrize("too_long", ["error", "skip"])
def test_a_prompt_that_must_not_be_cut(too_long: TooLong) -> None:
    with pytest.raises(Unanswerable, match="36 tokens, and there is room for 35") as generated:
        cut_prompt(range(36), 40, 5, too_long)
    with pytest.raises(Unanswerable, match="36 tokens, and there is room for 35") as scored:
        cut_pair(range(36), [1] * 6, 40, too_long)
    for caught in (generated, scored):
        assert (caught.value.kind, caught.value.skip) == ("prompt_too_long", too_long == "skip")
    assert cut_prompt(range(35), 40, 5, too_long).dropped == cut_pair(range(35), [1] * 6, 40, too_long).dropped == 0


SYSTEM, ASK, PREFILL = Message("system", "be brief"), Message("user", "the cat?"), Message("assistant", "Answer:")


class TestChat:
    def test_a_question_gets_the_generation_prompt(self, tokenizers: dict[str, Tokenizer]) -> None:
        prompt = encoder(tokenizers, "bytes").render((SYSTEM, ASK))
        assert prompt.text == "<|system|>be brief\n<|user|>the cat?\n<|assistant|>"
        assert not prompt.notes

    def test_a_last_assistant_message_is_continued(self, tokenizers: dict[str, Tokenizer]) -> None:
        prompt = encoder(tokenizers, "bytes").render((ASK, PREFILL))
        assert prompt.text == "<|user|>the cat?\n<|assistant|>Answer:"

    def test_text_stays_text(self, tokenizers: dict[str, Tokenizer]) -> None:
        assert encoder(tokenizers, "bytes").render("plain").text == "plain"

    def test_a_template_that_refuses_system_messages_gets_the_chat_without(self) -> None:
        refuses = "{% if messages[0]['role'] == 'system' %}{{ raise_exception('no system role') }}{% endif %}"
        prompt = Encoder(make.tokenizer("bytes", refuses + make.CHAT_TEMPLATE)).render((SYSTEM, ASK))
        assert prompt.text == "<|user|>the cat?\n<|assistant|>"
        assert "no system role" in prompt.notes["system_message"]

    def test_a_template_that_refuses_everything(self) -> None:
        encode = Encoder(make.tokenizer("bytes", "{{ raise_exception('never') }}"))
        for chat in ((SYSTEM, ASK), (ASK,), (SYSTEM,)):
            with pytest.raises(Unanswerable, match="never"):
                encode.render(chat)

    def test_a_template_that_writes_the_bos_itself_gets_no_second(self) -> None:
        tokenizer = make.tokenizer("bytes-bos", "{{ bos_token }}" + make.CHAT_TEMPLATE)
        encode = Encoder(tokenizer)
        text = encode.render((ASK,)).text
        assert text.startswith("<|begin|>")
        assert encode.prompt(text).count(tokenizer.bos_token_id) == 1
        assert encode.encode(text).count(tokenizer.bos_token_id) == 1

    def test_a_template_by_name(self) -> None:
        tokenizer = make.tokenizer("bytes")
        tokenizer.chat_template = {"default": "default", "tools": "tools"}
        assert Encoder(tokenizer).render((ASK,)).text == "default"
        assert Encoder(tokenizer, template_name="tools").render((ASK,)).text == "tools"
