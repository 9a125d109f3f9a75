"""The same model behind ``hf`` and behind a server gives the same scores: tokens, BOS, joins and cuts are the same."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from lmrun.backends.api.call import Call
from lmrun.backends.api.found import Found
from lmrun.backends.hf import HfBackend
from lmrun.requests import Context, Message, Request
from tests.backends import make
from tests.backends.api.asking import calls, completions_wire

torch = pytest.importorskip("torch")

REQUESTS = [
    *(
        Request("loglikelihood", c, k)
        for c in ("", " ", "Question: two?\nAnswer:", "the cat ")
        for k in (" yes", "sat on")
    ),
    *(Request("loglikelihood", "<|begin|>the cat", k) for k in (" no", "\nmaybe …")),
    Request("loglikelihood", (Message("user", "one two"), Message("assistant", "three")), " four"),
    Request("loglikelihood", "Ans", "wer"),
]
ROLLING = [Request("loglikelihood_rolling", continuation=text) for text in ("the cat sat on a mat.\n", "Question…")]


def reply(model: Any, body: Mapping[str, Any]) -> dict[str, Any]:
    """What a server that holds the model answers to a prompt of tokens with ``echo``."""
    ids = torch.tensor([body["prompt"]])
    with torch.inference_mode():
        logs = torch.log_softmax(model(ids).logits[0, :-1].float(), dim=-1)
    values = [None, *logs.gather(1, ids[0, 1:, None])[:, 0].tolist(), -0.5]
    tops = [None, *({"best": value} for value in logs.max(dim=-1).values.tolist()), {"best": -0.5}]
    names = [f"token_id:{i}" for i in (*body["prompt"], 0)]
    logprobs = {"tokens": names, "token_logprobs": values, "top_logprobs": tops}
    return {"choices": [{"index": 0, "text": "", "logprobs": logprobs}]}


@pytest.mark.parametrize("kind", make.TOKENIZERS)
@pytest.mark.parametrize("add_bos_token", [None, False])
def test_scores(
    load: Callable[..., HfBackend], folders: Callable[..., Path], kind: str, add_bos_token: bool | None
) -> None:
    options: dict[str, Any] = {} if add_bos_token is None else {"add_bos_token": add_bos_token}
    backend = load("llama", kind, chat_template=make.CHAT_TEMPLATE, **options)
    folder = folders("llama", kind, chat_template=make.CHAT_TEMPLATE)
    wire = completions_wire(tokenizer=str(folder), scoring="echo", **options)
    wire.found = Found(tokens=True, echo=True)
    assert backend._loaded is not None
    for requests in (REQUESTS, ROLLING):
        expected = {i: response for chunk in backend.run(requests) for i, response in chunk}
        for i, request in enumerate(requests):
            (call,) = calls(wire, [request])
            assert isinstance(call, Call)
            (response,) = call.read(reply(backend._loaded.model, call.body))
            assert response.logprob == pytest.approx(expected[i].logprob, abs=1e-3)
            assert response.is_greedy == expected[i].is_greedy or request.kind == "loglikelihood_rolling"
            assert response.notes == expected[i].notes


@pytest.mark.parametrize("kind", make.TOKENIZERS)
def test_prompts(load: Callable[..., HfBackend], folders: Callable[..., Path], kind: str) -> None:
    backend = load("llama", kind, chat_template=make.CHAT_TEMPLATE)
    folder = str(folders("llama", kind, chat_template=make.CHAT_TEMPLATE))
    wire = completions_wire(tokenizer=folder, prompts="tokens", max_length=128)
    contexts: list[Context] = ["", "the cat ", " sat" * 200, (Message("system", "Be."), Message("user", "one two "))]
    for context in contexts:
        request = Request("generate_until", context, generation={"max_gen_toks": 20})
        (call,) = calls(wire, [request])
        assert isinstance(call, Call)
        assert backend._loaded is not None
        _, row, _ = backend._loaded.prompt(request)
        assert call.body["prompt"] == list(row.inputs)
