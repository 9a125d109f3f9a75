"""``/completions``: what is sent, and what is read from the replies."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lmrun.backends.api.call import Call, Malformed, Ready
from lmrun.backends.api.completions import CompletionsWire
from lmrun.backends.api.found import Found
from lmrun.backends.light_tokenizer import LightTokenizer
from lmrun.backends.tokenize import Encoder
from lmrun.errors import BackendError
from lmrun.requests import Message, Request, Response
from tests.backends import make
from tests.backends.api.asking import about, ask, calls, completions_wire, engine, reply_to, sent, tokenizer, truth

WORDS = ["The", " answer", " is", " Paris", " 17", ".", "\n", " ", "  ", "Question", "é", " ☃", "\U0001f600", "x", " A"]
texts = st.lists(st.sampled_from(WORDS), min_size=1, max_size=8).map("".join)


def with_tokens(method: str = "auto", **options: Any) -> CompletionsWire:
    """A wire that knows the tokenizer, at a server like vLLM."""
    wire = completions_wire(tokenizer=tokenizer(), scoring=method, **options)
    wire.found = Found(tokens=True, echo=True, prompt_logprobs=True, top_logprobs=20, max_length=64)
    return wire


def choice_of(context: str, *continuations: str) -> list[Request]:
    return [Request("loglikelihood", context, continuation) for continuation in continuations]


class TestScores:
    @settings(deadline=None, max_examples=200)
    @given(context=texts, continuation=texts, method=st.sampled_from(["echo", "prompt_logprobs"]))
    def test_tokens_are_those_of_the_encoder(self, context: str, continuation: str, method: str) -> None:
        request = Request("loglikelihood", context, continuation)
        pair = Encoder(LightTokenizer(Path(tokenizer()))).pair(context, continuation)
        (response,) = ask(with_tokens(method), [request])
        expected = truth([*pair.context, *pair.continuation], len(pair.context))
        assert response.logprob == about(expected[0])
        assert response.is_greedy == expected[1]
        assert response.notes == ({} if pair.join == "joint" else {"join": pair.join})

    @settings(deadline=None, max_examples=100)
    @given(context=texts)
    def test_methods_agree_on_choices_of_one_token(self, context: str) -> None:
        likeliest = engine().model.top(engine().model.rows(engine().tokens.encode(context.rstrip())), 3)[-1]
        words = [engine().tokens.strings[i] for i in likeliest]
        requests = [
            r for r in choice_of(context.rstrip(), *words) if r.continuation.isprintable() and r.continuation.isascii()
        ]
        if not requests or not context.strip():
            return
        by_method = [ask(with_tokens(m), requests) for m in ("echo", "prompt_logprobs")]
        nexts = ask(with_tokens("next_token"), requests)
        for *others, nearest in zip(*by_method, nexts, strict=True):
            assert others[0].logprob == about(others[1].logprob)
            assert others[0].is_greedy == others[1].is_greedy
            if nearest.error is None:
                assert nearest.logprob == about(others[0].logprob)
                assert nearest.is_greedy == others[0].is_greedy

    @settings(deadline=None, max_examples=200)
    @given(context=texts, continuation=texts, known=st.booleans())
    def test_text_gives_what_tokens_give(self, context: str, continuation: str, known: bool) -> None:
        """Where the whole text is cut at the join; else the response says that a token spans it, or is an error."""
        request = Request("loglikelihood", context, continuation)
        by_tokens, by_text = ask(with_tokens(), [request])[0], ask(self._text_wire(known), [request])[0]
        if by_text.error:
            assert by_text.error.kind == "join_not_found"
            return
        assert by_text.is_greedy is not None
        joint = not by_tokens.notes and not by_text.notes
        if joint and context.strip():  # else the prefix token is no part of the text
            assert by_text.logprob == about(by_tokens.logprob)

    @staticmethod
    def _text_wire(known: bool) -> CompletionsWire:
        return completions_wire(prompts="text", **({"tokenizer": tokenizer()} if known else {}))

    def test_text_is_scored_from_its_join_on(self) -> None:
        (response,) = ask(completions_wire(), choice_of("The answer is ", "Paris."))
        ids = engine().tokens.encode("The answer is Paris.")
        assert response.logprob == about(truth(ids, 3)[0])
        assert response.prompt_tokens == len(ids)

    def test_text_without_a_context_needs_a_tokenizer(self) -> None:
        (response,) = ask(completions_wire(), choice_of("", "The answer"))
        assert response.error is not None
        assert response.error.kind == "join_not_found"
        assert "tokenizer" in response.error.message

    def test_an_empty_context_is_the_prefix_token(self) -> None:
        (response,) = ask(with_tokens(), choice_of("", "The answer"))
        ids = [engine().tokens.end, *engine().tokens.encode("The answer")]
        assert response.logprob == about(truth(ids, 1)[0])

    def test_a_long_context_is_cut_on_the_left_and_counted(self) -> None:
        (response,) = ask(with_tokens(), choice_of(" and" * 100, " Paris"))
        assert response.dropped_tokens == 101 - 63
        assert response.prompt_tokens == 63

    def test_what_must_not_be_cut_is_an_error_or_left_out(self) -> None:
        (error,) = ask(with_tokens(too_long="error"), choice_of(" and" * 100, " Paris"))
        (skipped,) = ask(with_tokens(too_long="skip"), choice_of(" and" * 100, " Paris"))
        assert error.error is not None
        assert error.error.kind == "prompt_too_long"
        assert skipped.skipped
        assert skipped.error is None

    def test_one_choice_that_cannot_be_asked_leaves_the_others(self) -> None:
        first, second = ask(with_tokens(), choice_of("The answer is", "", " Paris"))
        assert first.error is not None
        assert second.logprob is not None


class TestRolling:
    @settings(deadline=None, max_examples=50)
    @given(words=st.lists(st.sampled_from(WORDS), min_size=1, max_size=150), method=st.sampled_from(["echo", "auto"]))
    def test_windows_sum_to_what_each_token_has_in_its_window(self, words: list[str], method: str) -> None:
        text = "".join(words)
        (response,) = ask(with_tokens(method), [Request("loglikelihood_rolling", continuation=text)])
        encoder = with_tokens().encoder
        assert encoder is not None
        windows = encoder.windows(text, 62)
        expected = sum(truth([*w.context, *w.predicted], len(w.context))[0] for w in windows)
        assert response.logprob == about(expected)

    def test_every_window_says_how_many_there_are(self) -> None:
        made = calls(with_tokens(), [Request("loglikelihood_rolling", continuation=" and" * 100)])
        assert [c.parts for c in made if isinstance(c, Call)] == [(2,), (2,)]

    def test_no_text_has_probability_one(self) -> None:
        assert calls(with_tokens(), [Request("loglikelihood_rolling")]) == [Ready(0, Response(logprob=0.0, attempts=0))]

    def test_text_alone_lacks_the_first_token(self) -> None:
        (response,) = ask(completions_wire(), [Request("loglikelihood_rolling", continuation="The answer")])
        assert response.error is not None
        assert "first token" in response.error.message


class TestNextToken:
    def test_one_call_answers_all_choices(self) -> None:
        top = engine().model.top(engine().model.rows(engine().tokens.encode("Question")), 20)[-1]
        words = [w for w in (engine().tokens.strings[i] for i in top) if w.isprintable() and w.strip()][:3]
        (call,) = calls(with_tokens("next_token"), choice_of("Question", *words))
        assert isinstance(call, Call)
        assert call.owners == (0, 1, 2)
        responses = call.read(reply_to(call))
        assert sum(r.prompt_tokens for r in responses) == 1
        assert [r.is_greedy for r in responses].count(True) <= 1

    def test_a_choice_of_several_tokens_is_refused(self) -> None:
        (response,) = ask(with_tokens("next_token"), choice_of("The answer is", " Paris London"))
        assert response.error is not None
        assert response.error.kind == "not_one_token"

    def test_a_choice_that_is_not_listed_is_an_error(self) -> None:
        rows = engine().model.rows(engine().tokens.encode("The answer is"))
        unlikely = engine().tokens.strings[engine().model.top(rows, 500)[-1][-1]]
        (response,) = ask(completions_wire(scoring="next_token"), choice_of("The answer is", unlikely))
        assert response.error is not None
        assert response.error.kind == "choice_not_in_top_logprobs"

    def test_auto_takes_it_only_where_nothing_else_is_right(self) -> None:
        wire = with_tokens()
        found = [str(wire.method)]
        wire.found.prompt_logprobs = False
        found.append(wire.method)
        wire.found.echo = False
        found.append(wire.method)
        assert found == ["prompt_logprobs", "echo", "next_token"]


class TestGeneration:
    def test_what_is_sent(self) -> None:
        generation = {"until": ["\n"], "max_gen_toks": 9, "temperature": 0.7, "top_p": 0.9, "do_sample": True}
        body = sent(completions_wire(), Request("generate_until", "The", generation=generation, seed=3)).body
        assert body == {
            "model": "tiny",
            "prompt": "The",
            "max_tokens": 9,
            "temperature": 0.7,
            "top_p": 0.9,
            "stop": ["\n"],
            "seed": 3,
        }

    def test_a_greedy_answer_has_no_parameters_of_sampling(self) -> None:
        generation = {"do_sample": False, "temperature": 0.7, "top_p": 0.9, "repetition_penalty": 1.1}
        body = sent(completions_wire(), Request("generate_until", "The", generation=generation)).body
        assert body == {
            "model": "tiny",
            "prompt": "The",
            "max_tokens": 256,
            "temperature": 0.0,
            "repetition_penalty": 1.1,
        }

    def test_the_key_is_sent_in_the_header_that_the_manifest_names(self) -> None:
        assert completions_wire().headers("secret") == {"Authorization": "Bearer secret"}
        assert completions_wire(api_key_header="api-key").headers("secret") == {"api-key": "secret"}
        assert completions_wire(api_key_header="api-key").headers(None) == {}

    def test_extra_body_has_the_last_word(self) -> None:
        body = sent(completions_wire(extra_body={"top_k": 5}), Request("generate_until", "The")).body
        assert body["top_k"] == 5

    def test_tokens_and_text_give_the_same_answer(self) -> None:
        request = Request("generate_until", "The answer is", generation={"max_gen_toks": 12})
        by_tokens, by_text = ask(with_tokens(), [request])[0], ask(completions_wire(), [request])[0]
        assert by_tokens == by_text
        assert by_tokens.text
        assert by_tokens.prompt_tokens == 3

    def test_a_prompt_is_cut_so_that_the_answer_fits(self) -> None:
        request = Request("generate_until", " and" * 100, generation={"max_gen_toks": 14})
        (response,) = ask(with_tokens(), [request])
        assert response.dropped_tokens == 50

    def test_stops_are_applied_here_whatever_the_server_does(self) -> None:
        request = Request("generate_until", "The", generation={"until": [" is", "."], "max_gen_toks": 20})
        call = sent(completions_wire(), request)
        (response,) = call.read(
            {"choices": [{"index": 0, "text": " answer. It is", "finish_reason": "length"}], "usage": None}
        )
        assert (response.text, response.finish_reason) == (" answer", "stop")

    def test_reasoning_is_split_off_and_stops_do_not_act_in_it(self) -> None:
        wire = completions_wire(reasoning={"start": "<think>", "end": "</think>"})
        call = sent(wire, Request("generate_until", "The", generation={"until": ["\n\n"]}))
        assert "stop" not in call.body
        (response,) = call.read(_text("<think>a\n\nb</think>\nParis\n\nLondon"))
        assert (response.text, response.reasoning, response.finish_reason) == ("Paris", "a\n\nb", "stop")

    @pytest.mark.parametrize(("text", "answer"), [("[THINK]x[/THINK]5", "5"), ("5", "5"), ("x</think> 5", "5")])
    def test_auto_goes_by_the_answer_where_there_is_no_tokenizer(self, text: str, answer: str) -> None:
        call = sent(completions_wire(reasoning="auto"), Request("generate_until", "The"))
        assert call.read(_text(text))[0].text == answer

    def test_reasoning_that_is_not_closed_is_cut_off(self) -> None:
        call = sent(completions_wire(reasoning="auto"), Request("generate_until", "The"))
        (response,) = call.read(_text("<think>on and on"))
        assert (response.text, response.reasoning, response.finish_reason) == ("", "on and on", "length")


def _text(text: str, **choice: Any) -> dict[str, Any]:
    return {"choices": [{"index": 0, "text": text, "finish_reason": "stop", **choice}]}


class TestChats:
    def test_messages_go_through_the_template(self, folders: Callable[..., Any]) -> None:
        folder = folders("llama", "bytes-bos", chat_template="{{ bos_token }}" + make.CHAT_TEMPLATE)
        request = Request("generate_until", (Message("user", "the cat"),))
        wire = completions_wire(tokenizer=str(folder), prompts="tokens")
        ids = sent(wire, request).body["prompt"]
        assert wire.encoder is not None
        assert wire.encoder.tokenizer.decode(ids) == "<|begin|><|user|>the cat\n<|assistant|>"
        text = completions_wire(tokenizer=str(folder))
        assert sent(text, request).body["prompt"] == "<|user|>the cat\n<|assistant|>"

    def test_messages_without_a_template_are_an_error(self) -> None:
        for wire in (completions_wire(), with_tokens()):
            (ready,) = calls(wire, [Request("generate_until", (Message("user", "the cat"),))])
            assert isinstance(ready, Ready)
            assert ready.response.error is not None
            assert ready.response.error.kind == "no_chat_template"


class TestBatches:
    REQUESTS = (
        *choice_of("The answer is", " Paris", " London", " 17."),
        *choice_of("Question", ": who", " Paris"),
    )

    @settings(deadline=None, max_examples=50)
    @given(
        order=st.randoms(use_true_random=False),
        known=st.booleans(),
        generated=st.booleans(),
    )
    def test_any_order_of_the_reply_gives_the_same_responses(
        self, order: random.Random, known: bool, generated: bool
    ) -> None:
        wire = with_tokens("echo", batch_prompts=8) if known else completions_wire(batch_prompts=8)
        requests = [
            Request("generate_until", f"{r.context}{r.continuation}", generation={"max_gen_toks": 5})
            if generated
            else r
            for r in self.REQUESTS
        ]
        single = [_call for r in requests for _call in calls(wire, [r])]
        members = [call for call in single if isinstance(call, Call)]
        assert len({call.joinable for call in members}) == 1
        alone = [call.read(reply_to(call))[0] for call in members]
        joined = wire.join(members)
        reply = reply_to(joined)
        order.shuffle(reply["choices"])
        together = joined.read(reply)
        assert [(r.text, r.logprob, r.is_greedy, r.finish_reason) for r in together] == [
            (r.text, r.logprob, r.is_greedy, r.finish_reason) for r in alone
        ]
        assert sum(r.prompt_tokens for r in together) == reply["usage"]["prompt_tokens"]
        assert sum(r.completion_tokens for r in together) == reply["usage"]["completion_tokens"]

    def test_calls_with_other_parameters_are_not_joined(self) -> None:
        wire = completions_wire(batch_prompts=8)
        first, second = (sent(wire, Request("generate_until", "The", seed=seed)) for seed in (1, 2))
        assert first.joinable != second.joinable

    def test_nothing_is_joined_unless_the_manifest_says_so(self) -> None:
        assert sent(completions_wire(), Request("generate_until", "The")).joinable is None

    def test_choices_that_claim_one_place_are_malformed(self) -> None:
        wire = completions_wire(batch_prompts=8)
        generation = {"max_gen_toks": 3}
        joined = wire.join([sent(wire, Request("generate_until", t, generation=generation)) for t in ("The", "It")])
        reply = reply_to(joined)
        reply["choices"][1]["index"] = 0
        with pytest.raises(Malformed, match="indices"):
            joined.read(reply)


class TestFalseScores:
    @pytest.mark.parametrize("method", ["echo", "prompt_logprobs"])
    def test_replies_without_logprobs_are_malformed(self, method: str) -> None:
        call = sent(with_tokens(method), choice_of("The answer is", " Paris")[0])
        reply = reply_to(call)
        reply["choices"][0].update(logprobs=None, prompt_logprobs=None)
        with pytest.raises(Malformed):
            call.read(reply)

    @pytest.mark.parametrize("value", [None, 0.5, "x", True])
    def test_what_is_no_logprob_is_malformed(self, value: Any) -> None:
        call = sent(with_tokens("echo"), choice_of("The answer is", " Paris")[0])
        reply = reply_to(call)
        reply["choices"][0]["logprobs"]["token_logprobs"][3] = value
        with pytest.raises(Malformed):
            call.read(reply)

    def test_another_number_of_tokens_is_malformed(self) -> None:
        call = sent(with_tokens("echo"), choice_of("The answer is", " Paris")[0])
        reply = reply_to(call)
        for column in reply["choices"][0]["logprobs"].values():
            del column[:2]
        with pytest.raises(Malformed, match="for a prompt of 4"):
            call.read(reply)

    def test_logprobs_of_other_tokens_are_malformed(self) -> None:
        """A server that shows other tokens than it was sent has cut the text in its own way."""
        call = sent(with_tokens("echo"), choice_of("The answer is", " Paris")[0])
        reply = reply_to(call)
        assert reply["choices"][0]["logprobs"]["tokens"][3].startswith("token_id:")
        reply["choices"][0]["logprobs"]["tokens"][3] = "token_id:7"
        with pytest.raises(Malformed, match="where the token"):
            call.read(reply)

    @pytest.mark.parametrize("known", [True, False])
    def test_all_zeros_are_no_score(self, known: bool) -> None:
        wire = with_tokens("echo") if known else completions_wire()
        responses: list[Response] = []
        for call in calls(wire, choice_of("The answer is", " Paris", " London", " 17")):
            assert isinstance(call, Call)
            reply = reply_to(call)
            logs = reply["choices"][0]["logprobs"]
            logs["token_logprobs"] = [None, *(0.0 for _ in logs["tokens"][1:])]
            responses += call.read(reply)
        assert [r.error.kind if r.error else None for r in responses] == [None, None, "suspicious_logprobs"]

    def test_equal_texts_may_be_equally_likely(self) -> None:
        responses = ask(with_tokens(), choice_of("The answer is", " Paris London", " Paris London"))
        assert [r.error for r in responses] == [None, None]

    def test_an_error_in_place_of_an_answer_is_malformed(self) -> None:
        call = sent(completions_wire(), Request("generate_until", "The"))
        for reply in ({"error": {"message": "upstream"}}, {"choices": [{"error": {"message": "upstream"}}]}):
            with pytest.raises(Malformed, match="upstream"):
                call.read(reply)

    @pytest.mark.parametrize("choices", [None, [], [{}, {}], ["x"], [{"text": None}], [{"text": ["a"]}]])
    def test_a_reply_without_an_answer_is_malformed(self, choices: Any) -> None:
        call = sent(completions_wire(), Request("generate_until", "The"))
        with pytest.raises(Malformed):
            call.read({"choices": choices})

    def test_a_server_that_cuts_a_text_otherwise_is_found_out(self) -> None:
        """It adds no BOS, say: then as many tokens come back as were counted here, each in another's place."""
        wire = completions_wire(prompts="text", tokenizer=tokenizer(), scoring="echo")
        call = sent(wire, choice_of("The answer is", " Paris")[0])
        reply = reply_to(call)
        for column in reply["choices"][0]["logprobs"].values():
            del column[0]
        with pytest.raises(Malformed, match="other tokens"):
            call.read(reply)


class TestWire:
    def test_tokens_need_a_tokenizer(self) -> None:
        for options in ({"prompts": "tokens"}, {"scoring": "prompt_logprobs"}):
            with pytest.raises(BackendError, match="needs the model's tokenizer"):
                completions_wire(**options)

    def test_the_key_is_a_header(self) -> None:
        assert completions_wire().headers("k") == {"Authorization": "Bearer k"}
        assert completions_wire().headers(None) == {}

    def test_the_tokenizer_is_part_of_who_answers(self) -> None:
        assert completions_wire().facts() == {}
        assert completions_wire(tokenizer=tokenizer()).facts()["tokenizer"]

    def test_prompts_are_counted_with_the_tokenizer(self) -> None:
        assert completions_wire().counter() is None
        count = with_tokens().counter()
        assert count is not None
        assert count(Request("loglikelihood", "The answer is", " Paris")) == 4

    def test_a_server_that_ends_the_text_at_once(self) -> None:
        """It generates nothing behind the prompt, so the reply has no entry for it."""
        for wire in (with_tokens("echo"), completions_wire()):
            call = sent(wire, choice_of("The answer is", " Paris")[0])
            reply = reply_to(call)
            for column in reply["choices"][0]["logprobs"].values():
                del column[4:]
            assert call.read(reply)[0].logprob == pytest.approx(
                truth(engine().tokens.encode("The answer is Paris"), 3)[0]
            )
