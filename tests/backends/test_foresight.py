"""Requests of the next job are made ready while the model works on this one."""

from __future__ import annotations

import weakref
from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from lmrun.backends.base import Foresighted, ModelSpec
from lmrun.backends.hf import HfBackend, desk
from lmrun.requests import Message, Request
from tests.backends.test_scoring import answers, pairs, texts

pytest.importorskip("torch")


def generations(n: int = 12) -> list[Request]:
    return [Request("generate_until", f"the cat {i}", generation={"max_gen_toks": 3 + i % 3}) for i in range(n)]


BROKEN = [Request("loglikelihood", "the cat", ""), Request("loglikelihood", (Message("user", "no template"),), " sat")]


@pytest.fixture
def backend(folders: Any) -> HfBackend:
    made = HfBackend(ModelSpec("m", "hf", str(folders("llama", "bytes")), {"device": "cpu", "batch_tokens": 64}))
    made.load()
    return made


def drafted(backend: HfBackend, monkeypatch: pytest.MonkeyPatch) -> list[Request]:
    """Every request that is made ready from now on."""
    loaded, seen = backend._loaded, []
    assert loaded is not None
    for name in ("pair", "prompt", "windows"):
        own = getattr(type(loaded), name)

        def draft(self: Any, request: Request, own: Any = own) -> Any:
            seen.append(request)
            return own(self, request)

        monkeypatch.setattr(type(loaded), name, draft)
    return seen


@pytest.mark.parametrize(
    "following",
    [pairs(3), generations(), texts(), [*pairs(3), *BROKEN[:1]]],
    ids=["pairs", "texts", "windows", "bad"],
)
def test_the_next_job_is_ready_when_it_begins_and_its_answers_are_the_same(
    backend: HfBackend, following: list[Request], monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = answers(backend, following)
    assert isinstance(backend, Foresighted)
    seen = drafted(backend, monkeypatch)
    chunks = backend.run(pairs(10))
    backend.foresee(iter(following))
    for _ in chunks:
        pass
    assert [request for request in seen if request in following] == following, "once each, before they are asked"
    seen.clear()
    chunks = backend.run(following[::-1])
    backend.foresee(iter(()))
    found = {len(following) - 1 - i: response for chunk in chunks for i, response in chunk}
    assert seen == [request for request in following if request in BROKEN]
    assert found.keys() == expected.keys()
    for i, response in expected.items():
        assert (found[i].text, found[i].error, found[i].prompt_tokens) == (
            response.text,
            response.error,
            response.prompt_tokens,
        )
        assert found[i].logprob == (response.logprob and pytest.approx(response.logprob, abs=1e-4))


def test_a_job_foreseen_and_then_changed_is_answered_as_it_is(backend: HfBackend) -> None:
    """Some was answered meanwhile, some is new."""
    for following in (texts(), pairs(3)):
        chunks = backend.run(pairs(10))
        backend.foresee(iter([*following[4:], *BROKEN]))
        for _ in chunks:
            pass
        backend.foresee(iter(()))
        found = answers(backend, following)
        assert found == answers(backend, following)


def test_no_more_is_made_ready_than_fits_and_a_fault_waits_for_its_job(
    backend: HfBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(desk, "_MOST_READY", 5)
    seen = drafted(backend, monkeypatch)

    def following() -> Iterator[Request]:
        yield from BROKEN
        yield from generations(50)

    def asked(requests: Sequence[Request]) -> int:
        return sum(request in requests for request in seen)

    chunks = backend.run(pairs(10))
    backend.foresee(following())
    for _ in chunks:
        pass
    assert asked(BROKEN) == 2 and asked(generations(50)) == 5


def test_what_cannot_be_read_ahead_is_no_fault_of_this_job(backend: HfBackend, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = answers(backend, pairs(10))
    seen = drafted(backend, monkeypatch)

    def following() -> Iterator[Request]:
        yield from generations(3)
        raise OSError("the disk is gone")

    chunks = backend.run(pairs(10))
    backend.foresee(following())
    assert {i: response for chunk in chunks for i, response in chunk} == expected
    assert backend.usage().facts["prefix_sharing"] == "on"
    assert not [request for request in seen if request.kind == "generate_until"]


def test_nothing_holds_a_closed_model(backend: HfBackend) -> None:
    assert backend._loaded is not None
    model = weakref.ref(backend._loaded.model)
    chunks = backend.run(pairs(3))
    backend.foresee(iter(generations()))
    for _ in chunks:
        pass
    backend.close()
    backend.close()
    assert model() is None
