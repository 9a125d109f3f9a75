"""Answers to prompts: stops, cuts, reasons to finish, sampling that is reproducible row by row."""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from typing import Any

import pytest

from lmrun.backends.generation import cut_at_stops, normalise
from lmrun.backends.hf.generating import uniform
from lmrun.backends.tokenize import Unanswerable
from lmrun.requests import Request, Response
from tests.backends import make
from tests.backends.conftest import Load
from tests.backends.test_scoring import answers, parts, words

torch = pytest.importorskip("torch")


def prompts(n: int = 12, **generation: Any) -> list[Request]:
    rng = random.Random(n)
    wanted = {"until": ["\n"], "max_gen_toks": 10, **generation}
    return [Request("generate_until", words(rng, rng.randint(1, 30)), generation=wanted, seed=5) for _ in range(n)]


def reference(load: Load, architecture: str, request: Request, n: int) -> list[int]:
    """Greedy tokens one by one, without cache and padding."""
    model, encoder = parts(load(architecture))
    tokens = encoder.prompt(request.context)[-(128 - n) :]
    made: list[int] = []
    with torch.inference_mode():
        while len(made) < n and (not made or made[-1] != encoder.tokenizer.eos_token_id):
            made.append(int(model(torch.tensor([[*tokens, *made]])).logits[0, -1].argmax()))
    return made


class TestParameters:
    def test_defaults(self) -> None:
        wanted = normalise({})
        assert (wanted.until, wanted.max_new_tokens, wanted.sample) == ((), 256, False)

    def test_the_first_alias_counts_and_text_is_a_list(self) -> None:
        wanted = normalise({"until": "\n", "max_tokens": 9, "max_gen_toks": 7})
        assert (wanted.until, wanted.max_new_tokens, wanted.options) == (("\n",), 7, {})

    @pytest.mark.parametrize(
        ("given", "sample"),
        [
            ({"temperature": 0.7}, True),
            ({"temperature": 0.0}, False),
            ({"do_sample": False, "temperature": 0.7}, False),
            ({"do_sample": True}, True),
        ],
    )
    def test_sampling_follows_the_temperature_unless_stated(self, given: dict[str, Any], sample: bool) -> None:
        assert normalise(given).sample is sample

    @pytest.mark.parametrize("given", [{"until": [3]}, {"max_gen_toks": "many"}, {"max_gen_toks": 0}])
    def test_wrong_values_are_refused(self, given: dict[str, Any]) -> None:
        with pytest.raises(Unanswerable):
            normalise(given)

    def test_text_is_cut_at_every_stop(self) -> None:
        assert cut_at_stops("one two\nthree", ["\n", "two"]) == ("one ", True)
        assert cut_at_stops("one", ["two"]) == ("one", False)


@pytest.mark.parametrize("architecture", make.ARCHITECTURES)
def test_greedy_answers_are_those_of_the_model_alone(load: Load, architecture: str) -> None:
    requests = prompts(until=[])
    found = answers(load(architecture), requests)
    decode = parts(load(architecture))[1].tokenizer.decode
    for i, request in enumerate(requests):
        tokens = reference(load, architecture, request, 10)
        assert found[i].text == decode(tokens, skip_special_tokens=True)
        assert found[i].completion_tokens == len(tokens)


def test_an_answer_ends_at_a_stop(load: Load) -> None:
    backend = load("llama")
    free = answers(backend, prompts(until=[]))
    text = free[0].text or ""
    stop = text[2:4]
    found = answers(backend, prompts(until=["never", stop]))
    assert found[0].text == text[: text.index(stop)]
    assert found[0].finish_reason == "stop"
    assert 0 < found[0].completion_tokens <= free[0].completion_tokens
    assert free[0].finish_reason == "length"
    assert free[0].completion_tokens == 10
    for i, response in found.items():
        assert (response.text or "") == cut_at_stops(free[i].text or "", [stop])[0]


def test_a_finished_row_does_not_wait_for_the_others(load: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    backend = load("llama", exact=True)
    loaded = backend._loaded
    assert loaded is not None
    steps = []

    def generate(**inputs: Any) -> Any:
        out = loaded.model.generate(**inputs)
        steps.append(out.shape[1] - inputs["input_ids"].shape[1])
        return out

    monkeypatch.setattr(loaded, "generate", generate)
    free = answers(backend, prompts(until=[]))
    request, first = next((r, t[0]) for i, r in enumerate(prompts()) if (t := free[i].text or "")[0].isascii())
    steps.clear()
    stopped = Request("generate_until", request.context, generation={"until": [first], "max_gen_toks": 40})
    assert answers(backend, [stopped])[0].text == ""
    assert steps == [1]


def test_the_end_token_ends_an_answer(load: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    backend = load("llama")
    model, encoder = parts(backend)
    request = prompts(1, until=[])[0]
    tokens = reference(load, "llama", request, 10)
    monkeypatch.setattr(model.generation_config, "eos_token_id", [tokens[4], 9999])
    found = answers(backend, [request])[0]
    end = tokens.index(tokens[4]) + 1
    assert found.finish_reason == "stop"
    assert found.completion_tokens == end
    assert found.text == encoder.tokenizer.decode(tokens[:end], skip_special_tokens=True)


def test_a_long_prompt_is_cut_from_the_left_and_counted(load: Load) -> None:
    backend = load("gpt2")
    long = Request("generate_until", " ".join(make.WORDS * 8), generation={"until": [], "max_gen_toks": 28})
    n_tokens = len(parts(backend)[1].prompt(long.context))
    found = answers(backend, [long])[0]
    assert (found.prompt_tokens, found.dropped_tokens) == (100, n_tokens - 100)
    assert found.completion_tokens == 28
    too_much = Request("generate_until", "the", generation={"max_gen_toks": 128})
    error = answers(backend, [too_much])[0].error
    assert error is not None
    assert error.kind == "max_gen_toks_too_large"


def test_an_answer_that_ends_with_its_last_token_is_not_cut_off(load: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    backend = load("llama")
    model, encoder = parts(backend)
    request = prompts(1, until=[])[0]
    tokens = reference(load, "llama", request, 10)
    last = next(i for i, token in enumerate(tokens) if i > 2 and token not in tokens[:i])
    wanted = {"until": [], "max_gen_toks": last + 1}
    cut = answers(backend, [Request("generate_until", request.context, generation=wanted)])[0]
    assert (cut.finish_reason, cut.completion_tokens) == ("length", last + 1)
    stop = encoder.tokenizer.decode(tokens[last : last + 1])
    assert stop not in encoder.tokenizer.decode(tokens[:last])
    stopped = answers(backend, [Request("generate_until", request.context, generation={**wanted, "until": [stop]})])[0]
    assert (stopped.finish_reason, stopped.completion_tokens) == ("stop", last + 1)
    monkeypatch.setattr(model.generation_config, "eos_token_id", tokens[last])
    ended = answers(backend, [Request("generate_until", request.context, generation=wanted)])[0]
    assert (ended.finish_reason, ended.completion_tokens) == ("stop", last + 1)


def test_what_becomes_of_a_long_prompt_is_up_to_the_manifest(load: Load) -> None:
    generated = Request("generate_until", " ".join(make.WORDS * 8), generation={"max_gen_toks": 28})
    scored = Request("loglikelihood", " ".join(make.WORDS * 8), " yes")
    for request in (generated, scored):
        left, middle, error, skip = (
            answers(load("llama", too_long=policy), [request])[0] for policy in ("left", "middle", "error", "skip")
        )
        assert left.dropped_tokens == middle.dropped_tokens > 0
        assert left.prompt_tokens == middle.prompt_tokens
        assert (left.text, left.logprob) != (middle.text, middle.logprob)
        assert error.error and error.error.kind == "prompt_too_long" and not error.skipped
        assert skip.skipped and skip.error is None and skip.text is None and skip.logprob is None
    names = {load("llama", too_long=policy).identify().fingerprint for policy in ("left", "middle", "error", "skip")}
    assert len(names) == 4
    assert load("llama", too_long="left").identify() == load("llama").identify()


@pytest.mark.parametrize("architecture", make.ARCHITECTURES)
@pytest.mark.parametrize("sampled", [False, True])
def test_on_a_cpu_an_answer_depends_on_its_request_alone(load: Load, architecture: str, sampled: bool) -> None:
    requests = prompts(temperature=0.9, top_p=0.95) if sampled else prompts()
    together = answers(load(architecture), requests)
    assert answers(load(architecture, batch_tokens=40), requests) == together
    assert answers(load(architecture), requests[3:4])[0] == together[3]
    assert answers(load(architecture), requests[::-1]) == {11 - i: r for i, r in together.items()}


def test_a_resumed_run_gives_the_same_answers(load: Load) -> None:
    backend = load("llama", batch_tokens=40)
    requests = prompts(temperature=1.0)
    first: dict[int, Response] = dict(next(iter(backend.run(requests))))
    rest = answers(backend, requests, frozenset(first))
    assert {**first, **rest} == answers(backend, requests)


class TestSampling:
    def test_seed_and_repeat_change_the_answer_and_nothing_else_does(self, load: Load) -> None:
        wanted = {"temperature": 1.0, "max_gen_toks": 12}
        base = Request("generate_until", "the cat", generation=wanted, seed=1)
        again = Request("generate_until", "the cat", generation=wanted, seed=1)
        repeat = Request("generate_until", "the cat", generation=wanted, seed=1, sample_index=1)
        seeded = Request("generate_until", "the cat", generation=wanted, seed=2)
        found = answers(load("llama"), [base, again, repeat, seeded])
        assert found[0] == found[1]
        assert len({found[i].text for i in (0, 2, 3)}) == 3

    def test_parameters_in_force_are_noted(self, load: Load) -> None:
        found = answers(load("llama"), prompts(1, temperature=0.5, top_k=3))[0]
        assert found.notes == {"sampling": {"temperature": 0.5, "top_k": 3, "top_p": 1.0}}

    def test_only_the_best_is_left_by_top_k_1(self, load: Load) -> None:
        greedy = answers(load("llama"), prompts())
        sampled = answers(load("llama"), prompts(temperature=1.0, top_k=1))
        assert [r.text for r in greedy.values()] == [r.text for r in sampled.values()]

    def test_tokens_are_drawn_with_their_probability(self, load: Load) -> None:
        model, encoder = parts(load("llama"))
        wanted = {"temperature": 2.0, "top_k": 0, "max_gen_toks": 1}
        requests = [Request("generate_until", "the", generation=wanted, seed=i) for i in range(4000)]
        drawn = Counter(r.text for r in answers(load("llama"), requests).values())
        with torch.inference_mode():
            shares = (model(torch.tensor([encoder.prompt("the")])).logits[0, -1] / 2.0).softmax(-1)
        expected: defaultdict[str, float] = defaultdict(float)
        for token, share in enumerate(shares.tolist()):
            expected[encoder.tokenizer.decode([token], skip_special_tokens=True)] += share
        for text, share in sorted(expected.items(), key=lambda item: -item[1])[:8]:
            assert drawn[text] / 4000 == pytest.approx(share, abs=4 * (share / 4000) ** 0.5)

    def test_random_numbers_are_even(self) -> None:
        values = [uniform("key", step) for step in range(2000)]
        assert all(0 <= v < 1 for v in values)
        assert sum(values) / 2000 == pytest.approx(0.5, abs=0.03)


@pytest.mark.parametrize(
    "bad", [{"no_such_parameter": 1}, {"temperature": 1.0, "num_beams": 2}, {"num_return_sequences": 2}]
)
def test_a_parameter_that_is_refused_is_an_error_of_its_requests(load: Load, bad: dict[str, Any]) -> None:
    found = answers(load("llama"), [*prompts(2, **bad), *prompts(2)])
    kinds = [found[i].error.kind if found[i].error else None for i in range(4)]  # type: ignore[union-attr]
    assert kinds == ["bad_generation_parameter"] * 2 + [None] * 2


def test_beams_are_passed_on(load: Load) -> None:
    found = answers(load("llama"), prompts(3, num_beams=2))
    assert all(r.error is None for r in found.values())
