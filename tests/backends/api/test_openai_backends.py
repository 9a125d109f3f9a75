"""Both OpenAI protocols all the way: through HTTP to the scripted server and back."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from lmrun.backends.api import chat_backend, completions_backend
from lmrun.backends.base import ModelSpec
from lmrun.requests import Message, Request, Response
from lmrun.testing.script import Fault, Script
from lmrun.testing.server import ScriptedServer
from lmrun.testing.serving import Server
from tests.backends.api.asking import about, completions_wire, engine, tokenizer, truth

GENERATION = {"max_gen_toks": 8, "until": ["."]}
COMPLETIONS = [
    *(Request("loglikelihood", "The answer is", word) for word in (" Paris", " London", " 17", "")),
    *(Request("generate_until", f"Question {i}", generation=GENERATION) for i in range(20)),
    Request("loglikelihood_rolling", continuation=" and" * 30),
    Request("loglikelihood_rolling"),
]


@pytest.fixture
def server() -> Iterator[Server]:
    with ScriptedServer(Script(faults=[Fault("wrong_order"), Fault("status", share=0.1, status=503)])) as running:
        yield running


def answers(factory: Any, server: Server, requests: list[Request], **options: Any) -> list[Response]:
    retry = {"retry": {"attempts": 20, "max_wait": 0.01}}
    spec = ModelSpec("m", "api", "tiny", {"base_url": server.base_url, **retry, **options})
    backend = factory(spec)
    try:
        backend.load()
        found = {i: r for chunk in backend.stream(iter(enumerate(requests))) for i, r in chunk}
    finally:
        backend.close()
    return [found[i] for i in range(len(requests))]


@pytest.mark.parametrize("batch", [1, 8])
def test_completions(server: Server, batch: int) -> None:
    found = answers(
        completions_backend,
        server,
        COMPLETIONS,
        tokenizer=tokenizer(),
        prompts="tokens",
        max_length=24,
        batch_prompts=batch,
    )
    ids = engine().tokens.encode("The answer is Paris")
    assert found[0].logprob == about(truth(ids, 3)[0])
    assert found[3].error is not None
    for i, response in enumerate(found[4:24]):
        assert response.error is None
        assert response.text is not None
        assert "." not in response.text
        assert response.prompt_tokens == len(engine().tokens.encode(f"Question {i}"))
    encoder = completions_wire(tokenizer=tokenizer()).encoder
    assert encoder is not None
    windows = encoder.windows(" and" * 30, 22)
    assert found[24].logprob == about(sum(truth([*w.context, *w.predicted], len(w.context))[0] for w in windows))
    assert found[25].logprob == 0.0


def test_batches_change_nothing(server: Server) -> None:
    alone, together = (answers(completions_backend, server, COMPLETIONS[4:24], batch_prompts=batch) for batch in (1, 8))
    assert [(r.text, r.finish_reason) for r in alone] == [(r.text, r.finish_reason) for r in together]


def test_chat(server: Server) -> None:
    chats = [Request("generate_until", (Message("user", f"{i}?"),), generation=GENERATION) for i in range(20)]
    found = answers(chat_backend, server, [*chats, Request("loglikelihood", "Yes?", " no such choice")])
    assert all(r.text is not None and r.error is None for r in found[:20])
    assert found[20].error is not None
    assert found[20].error.kind == "choice_not_in_top_logprobs"
