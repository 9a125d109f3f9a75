"""Encoder-decoder models against a slow reference: one request, one pass, no padding."""

from __future__ import annotations

from typing import Any

import pytest

from lmrun.backends.hf import HfBackend
from lmrun.requests import Message, Request
from tests.backends import make
from tests.backends.conftest import Load
from tests.backends.test_generating import prompts
from tests.backends.test_scoring import answers, pairs, parts, texts

torch = pytest.importorskip("torch")
ARCHITECTURES = ("t5", "bart")
KIND = "pieces-eos"


def alone(model: Any, context: list[int], scored: list[int]) -> tuple[float, bool]:
    with torch.inference_mode():
        logits = model(input_ids=torch.tensor([context]), labels=torch.tensor([scored])).logits[0]
    chosen = logits.double().log_softmax(-1)[range(len(scored)), scored]
    return float(chosen.sum()), logits.argmax(-1).tolist() == scored


def tokens(backend: HfBackend, request: Request) -> tuple[list[int], list[int]]:
    """As lm-eval encodes: white space moved over, both apart, the end of a text marked for the encoder only."""
    tokenizer = parts(backend)[1].tokenizer
    assert isinstance(request.context, str)
    text = request.context.rstrip()
    moved = request.context[len(text) :] + request.continuation
    return tokenizer.encode(text)[-128:], tokenizer.encode(moved, add_special_tokens=False)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_scores_are_those_of_requests_scored_one_by_one(load: Load, architecture: str) -> None:
    backend = load(architecture, KIND)
    requests = pairs()
    found = answers(backend, requests)
    assert sorted(found) == list(range(len(requests)))
    assert any(r.dropped_tokens for r in found.values())
    for i, request in enumerate(requests):
        context, scored = tokens(backend, request)
        logprob, greedy = alone(parts(backend)[0], context, scored)
        assert found[i].logprob == pytest.approx(logprob, abs=1e-4)
        assert found[i].is_greedy is greedy
        assert (found[i].prompt_tokens, found[i].completion_tokens) == (len(context), len(scored))


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_the_models_own_choice_is_greedy(load: Load, architecture: str) -> None:
    backend = load(architecture, KIND)
    model, encoder = parts(backend)
    requests = []
    for word in make.WORDS[:12]:
        start = torch.tensor([[model.config.decoder_start_token_id]])
        with torch.inference_mode():
            logits = model(input_ids=torch.tensor([encoder.encode(word)]), decoder_input_ids=start).logits
        piece = encoder.tokenizer.decode([int(logits[0, -1, : len(encoder.tokenizer)].argmax())])
        requests.append(Request("loglikelihood", word, piece or "the"))
    expected = [alone(model, *tokens(backend, request))[1] for request in requests]
    assert [answer.is_greedy for _, answer in sorted(answers(backend, requests).items())] == expected
    assert any(expected)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_score_depends_on_its_request_alone(load: Load, architecture: str) -> None:
    requests = pairs(8)
    whole = answers(load(architecture, KIND, batch_tokens=2048), requests)
    assert answers(load(architecture, KIND, batch_tokens=64), requests) == whole
    later = answers(load(architecture, KIND, batch_tokens=2048), requests, frozenset(range(0, 32, 3)))
    assert later == {i: answer for i, answer in whole.items() if i % 3}


def test_every_context_is_encoded_once(load: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    backend = load("t5", KIND)
    encoder = parts(backend)[0].get_encoder()
    rows: list[int] = []
    encoder.register_forward_pre_hook(lambda _, __, inputs: rows.append(len(inputs["input_ids"])), with_kwargs=True)
    choices = [Request("loglikelihood", " ".join(make.WORDS), f" {word}") for word in make.WORDS[:6]]
    assert len({r.logprob for r in answers(backend, choices).values()}) == 6
    assert rows == [1]


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_rolling_gives_the_encoder_what_stands_before_a_window(load: Load, architecture: str) -> None:
    backend = load(architecture, KIND)
    model, encoder = parts(backend)
    requests = texts()
    for i, answer in answers(backend, requests).items():
        windows = encoder.windows(requests[i].continuation, 128)
        total = sum(alone(model, list(w.context), list(w.predicted))[0] for w in windows)
        assert answer.logprob == pytest.approx(total, rel=1e-6, abs=1e-4)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_answers_are_those_of_prompts_continued_one_by_one(load: Load, architecture: str) -> None:
    backend = load(architecture, KIND)
    model, encoder = parts(backend)
    requests = prompts(12)
    for i, answer in answers(backend, requests).items():
        assert isinstance(requests[i].context, str)
        inputs = encoder.prompt(requests[i].context)[-128:]
        limit = requests[i].generation["max_gen_toks"]
        with torch.inference_mode():
            out = model.generate(torch.tensor([inputs]), max_new_tokens=limit, do_sample=False, pad_token_id=0)
        text = encoder.tokenizer.decode(out[0, 1:], skip_special_tokens=True)
        for stop in requests[i].generation["until"]:
            text = text.split(stop)[0]
        assert answer.text == text


def test_a_sampled_answer_depends_on_its_request_alone(load: Load) -> None:
    request = Request("generate_until", "the cat", generation={"temperature": 1.0, "max_gen_toks": 12}, seed=3)
    others = [Request("generate_until", word, generation=request.generation, seed=3) for word in make.WORDS[:5]]
    backend = load("t5", KIND)
    assert answers(backend, [*others, request])[5] == answers(backend, [request])[0]


def test_the_answer_takes_no_room_from_the_prompt(load: Load) -> None:
    long = Request("generate_until", " ".join(make.WORDS * 8), generation={"max_gen_toks": 200, "until": ["."]})
    answer = answers(load("t5", KIND), [long])[0]
    assert answer.prompt_tokens == 128
    assert answer.text is not None


def test_what_cannot_be_asked_is_an_error_of_its_request(load: Load) -> None:
    backend = load("t5", KIND)
    found = answers(
        backend,
        [
            Request("loglikelihood", "", ""),
            Request("loglikelihood", "the", " " + " ".join(make.WORDS * 8)),
            Request("loglikelihood", "", " yes"),
        ],
    )
    assert [error.kind for i in (0, 1) if (error := found[i].error)] == ["empty_continuation", "continuation_too_long"]
    assert found[2].logprob is not None


def test_chats_go_through_the_template(load: Load) -> None:
    backend = load("t5", KIND, chat_template=make.CHAT_TEMPLATE)
    chat = Request("loglikelihood", (Message("user", "the cat"),), "sat")
    same = Request("loglikelihood", "<|user|>the cat\n<|assistant|>", "sat")
    found = answers(backend, [chat, same])
    assert found[0].logprob == found[1].logprob
