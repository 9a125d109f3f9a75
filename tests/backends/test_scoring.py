"""Log-probabilities against a slow reference, and that they depend on the request alone."""

from __future__ import annotations

import random
from collections.abc import Collection, Sequence
from typing import Any

import pytest

from lmrun.backends.hf import HfBackend
from lmrun.errors import BackendError
from lmrun.requests import Message, Request, Response
from tests.backends import make
from tests.backends.conftest import Load

torch = pytest.importorskip("torch")


def answers(
    backend: HfBackend, requests: Sequence[Request], answered: Collection[int] = frozenset()
) -> dict[int, Response]:
    found: dict[int, Response] = {}
    for chunk in backend.run(requests, answered):
        for i, response in chunk:
            assert i not in found
            found[i] = response
    return found


def words(rng: random.Random, n: int) -> str:
    return " ".join(rng.choice(make.WORDS) for _ in range(n))


def pairs(n: int = 20, longest: int = 150) -> list[Request]:
    """Docs with choices of one and of several tokens, short and (cut) long."""
    rng = random.Random(n)
    contexts = [words(rng, rng.randint(1, longest)) + rng.choice(["", " ", "\n"]) for _ in range(n)]
    return [
        Request("loglikelihood", c, end) for c in contexts for end in (" yes", " no", " " + words(rng, 4), " yes maybe")
    ]


def texts() -> list[Request]:
    rng = random.Random(7)
    return [Request("loglikelihood_rolling", "", words(rng, n)) for n in (1, 200, 5, 90, 33, 60, 150, 2)] + [
        Request("loglikelihood_rolling", "", "")
    ]


def parts(backend: HfBackend) -> tuple[Any, Any]:
    """The loaded model and its encoder."""
    assert backend._loaded is not None
    return backend._loaded.model, backend._loaded.encoder


def reference(backend: HfBackend, request: Request) -> tuple[float, bool]:
    """One request, one forward pass, no padding, in float64 after the logits."""
    model, encoder = parts(backend)
    context, scored, _ = encoder.pair(request.context, request.continuation)
    inputs = [*context, *scored][-(model.config.max_position_embeddings + 1) :][:-1]
    with torch.inference_mode():
        logits = model(torch.tensor([inputs])).logits[0, -len(scored) :]
    chosen = logits.double().log_softmax(-1)[range(len(scored)), list(scored)]
    return float(chosen.sum()), logits.argmax(-1).tolist() == list(scored)


@pytest.mark.parametrize("kind", ["bytes", "pieces-bos"])
@pytest.mark.parametrize("architecture", make.ARCHITECTURES)
def test_scores_are_those_of_requests_scored_one_by_one(load: Load, architecture: str, kind: str) -> None:
    backend = load(architecture, kind)
    requests = pairs()
    found = answers(backend, requests)
    assert sorted(found) == list(range(len(requests)))
    assert any(r.dropped_tokens for r in found.values())
    for i, request in enumerate(requests):
        logprob, greedy = reference(backend, request)
        assert found[i].logprob == pytest.approx(logprob, abs=1e-4)
        assert found[i].is_greedy is greedy


@pytest.mark.parametrize("architecture", make.ARCHITECTURES)
def test_the_models_own_choice_is_greedy(load: Load, architecture: str) -> None:
    backend = load(architecture)
    model, encoder = parts(backend)
    contexts = [words(random.Random(i), 1 + i) for i in range(12)]
    requests = []
    for context in contexts:
        with torch.inference_mode():
            best = int(model(torch.tensor([encoder.encode(context)])).logits[0, -1].argmax())
        requests.append(Request("loglikelihood", context, encoder.tokenizer.decode([best])))
    greedy = [r.is_greedy for _, r in sorted(answers(backend, requests).items())]
    assert greedy == [reference(backend, r)[1] for r in requests]
    assert any(greedy)


def test_choices_of_one_token_share_a_forward_pass(load: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    backend = load("llama", "bytes", exact=True)
    loaded = backend._loaded
    assert loaded is not None
    rows = []

    def forward(**inputs: Any) -> Any:
        rows.append(inputs["input_ids"].shape[0])
        return loaded.model(**inputs)

    monkeypatch.setattr(loaded, "forward", forward)
    choices = [Request("loglikelihood", " ".join(make.WORDS), f" {word}") for word in ("yes", "no", "maybe", "cat")]
    found = answers(backend, choices)
    assert rows == [1]
    assert len({r.logprob for r in found.values()}) == 4


def test_counts_and_notes(load: Load) -> None:
    backend = load("llama", "bytes-newlines")
    found = answers(
        backend,
        [
            Request("loglikelihood", "the cat", " sat on"),
            Request("loglikelihood", "Answer:\n", "yes"),
            Request("loglikelihood", "", ""),
            Request("loglikelihood", "the", " " + " ".join(make.WORDS * 8)),
            Request("loglikelihood", " ".join(make.WORDS * 8), " yes"),
        ],
    )
    assert (found[0].prompt_tokens, found[0].completion_tokens, found[0].dropped_tokens) == (3, 2, 0)
    assert found[1].notes == {"join": "remerged"}
    kinds = [error.kind for i in (2, 3) if (error := found[i].error)]
    assert kinds == ["empty_continuation", "continuation_too_long"]
    n_tokens = len(parts(backend)[1].encode(" ".join(make.WORDS * 8)))
    assert found[4].dropped_tokens == n_tokens + 1 - 129
    assert found[4].prompt_tokens + found[4].completion_tokens == 129


@pytest.mark.parametrize("architecture", make.ARCHITECTURES)
def test_rolling_scores_are_those_of_windows_scored_one_by_one(load: Load, architecture: str) -> None:
    backend = load(architecture, "bytes")
    model, encoder = parts(backend)
    requests = texts()
    found = answers(backend, requests)
    assert sorted(found) == list(range(len(requests)))
    for i, request in enumerate(requests):
        total = 0.0
        for context, predicted in encoder.windows(request.continuation, 128):
            with torch.inference_mode():
                logits = model(torch.tensor([[*context, *predicted][:-1]])).logits[0, -len(predicted) :]
            total += float(logits.double().log_softmax(-1)[range(len(predicted)), list(predicted)].sum())
        assert found[i].logprob == pytest.approx(total, rel=1e-6, abs=1e-4)
    assert found[8].logprob == 0.0


# -- equal to the last bit ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["loglikelihood", "loglikelihood_rolling"])
@pytest.mark.parametrize("architecture", make.ARCHITECTURES)
def test_on_a_cpu_a_score_depends_on_its_request_alone(load: Load, architecture: str, kind: str) -> None:
    requests = pairs(10) if kind == "loglikelihood" else texts()
    together = answers(load(architecture, exact=True), requests)
    small = answers(load(architecture, exact=True, batch_tokens=40), requests)
    large = answers(load(architecture, exact=True, batch_tokens=100_000), requests)
    assert together == small == large
    for i in range(0, len(requests), 7):
        assert answers(load(architecture, exact=True), [requests[i]])[0] == together[i]


@pytest.mark.parametrize("architecture", make.ARCHITECTURES)
def test_on_a_cpu_two_threads_change_no_bit_and_more_change_nothing_that_counts(load: Load, architecture: str) -> None:
    requests = pairs(4)
    before = torch.get_num_threads()
    found = []
    try:
        for threads in (1, 2, 5):
            torch.set_num_threads(threads)
            found.append(answers(load(architecture, exact=True), requests))
    finally:
        torch.set_num_threads(before)
    assert found[0] == found[1]
    for i, response in found[0].items():
        assert found[2][i].logprob == pytest.approx(response.logprob, abs=1e-4)


@pytest.mark.parametrize("exact", [True, False])
@pytest.mark.parametrize("kind", ["loglikelihood", "loglikelihood_rolling"])
@pytest.mark.parametrize("stop_after", [0, 1, 3])
def test_a_resumed_run_gives_the_same_bits(load: Load, stop_after: int, kind: str, exact: bool) -> None:
    backend = load("neox", batch_tokens=256, exact=exact)
    requests = pairs(12) if kind == "loglikelihood" else texts()
    whole = answers(backend, requests)
    first: dict[int, Response] = {}
    for n, chunk in enumerate(backend.run(requests)):
        if n == stop_after:
            break
        first.update(chunk)
    rest = answers(backend, requests, frozenset(first))
    assert not first.keys() & rest.keys()
    assert {**first, **rest} == whole


def test_batches_stay_the_same_when_some_requests_are_answered(load: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    backend = load("neox", batch_tokens=256, exact=True)
    loaded = backend._loaded
    assert loaded is not None
    shapes: list[tuple[int, ...]] = []

    def forward(**inputs: Any) -> Any:
        shapes.append(tuple(inputs["input_ids"].shape))
        return loaded.model(**inputs)

    monkeypatch.setattr(loaded, "forward", forward)
    requests = pairs(12)
    chunks = list(backend.run(requests))
    whole, shapes[:] = list(shapes), []
    done = {i for chunk in chunks[:3] for i, _ in chunk}
    list(backend.run(requests, done))
    assert shapes == whole[3:]


# -- chats -------------------------------------------------------------------------------------------------------------


def test_messages_are_scored_in_the_chat_template(load: Load) -> None:
    backend = load("llama", "bytes-bos", chat_template=make.CHAT_TEMPLATE)
    chat = Request("loglikelihood", (Message("user", "the cat?"),), " yes")
    plain = Request("loglikelihood", "<|user|>the cat?\n<|assistant|>", " yes")
    assert answers(backend, [chat])[0] == answers(backend, [plain])[0]


def test_messages_for_a_model_without_template_are_refused_at_once(load: Load) -> None:
    with pytest.raises(BackendError, match="has no chat template"):
        load("llama").run([Request("generate_until", (Message("user", "the cat?"),))])


def test_overflowing_values_are_an_error(load: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    backend = load("llama", exact=True)
    loaded = backend._loaded
    assert loaded is not None

    def forward(**inputs: Any) -> Any:
        out = loaded.model(**inputs)
        out.logits = out.logits * float("nan")
        return out

    monkeypatch.setattr(loaded, "forward", forward)
    error = answers(backend, pairs(1)[:1])[0].error
    assert error is not None
    assert error.kind == "not_a_number"
