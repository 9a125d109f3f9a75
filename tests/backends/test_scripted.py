"""The backend without a model."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pytest

from lmrun.backends.base import ModelSpec
from lmrun.errors import BackendError
from lmrun.requests import Message, Request
from lmrun.testing.scripted import ScriptedBackend

PAIR = Request("loglikelihood", "2+2=", " 4")


def backend(model: str = "dummy", **options: Any) -> ScriptedBackend:
    return ScriptedBackend(ModelSpec("s", "scripted", model, options))


def share(text: str) -> float:
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big") / 2**32


def test_answers_are_those_of_the_stub_in_the_parity_tests() -> None:
    made = backend()
    assert made.answer(PAIR).logprob == -10 * share("2+2=| 4")
    assert made.answer(PAIR).is_greedy is (share("g2+2=| 4") < 0.3)
    assert made.answer(Request("loglikelihood_rolling", "", "long")).logprob == -100 * share("long")
    assert made.answer(Request("generate_until", "Q")).text == f"The answer is {int(50 * share('Q'))}."


def test_a_chat_is_answered_as_well() -> None:
    assert backend().answer(Request("generate_until", (Message("user", "Q"),))).text


def test_chunks_leave_out_what_is_answered() -> None:
    chunks = list(backend(chunk=2).run([PAIR] * 5, {0, 2, 3}))
    assert [[i for i, _ in chunk] for chunk in chunks] == [[1], [4]]


def test_some_requests_fail_on_purpose() -> None:
    answers = dict(
        pair for chunk in backend(fail="bad").run([PAIR, Request("generate_until", "bad")]) for pair in chunk
    )
    assert answers[0].error is None
    assert answers[1].error is not None


def test_identity_changes_with_what_changes_answers() -> None:
    same = [backend().identify(), backend(chunk=3, latency_ms=1, fail="x").identify()]
    others = [backend("other").identify(), backend(salt="x").identify()]
    assert len({i.fingerprint for i in same}) == 1
    assert len({i.fingerprint for i in same + others}) == 3


def test_calls_are_counted_in_a_file(tmp_path: Path) -> None:
    counted = backend(calls=str(tmp_path / "calls"))
    list(counted.run([PAIR] * 3, {1}))
    assert len((tmp_path / "calls").read_text().splitlines()) == 2


def test_options_are_checked_and_a_start_can_fail() -> None:
    with pytest.raises(BackendError, match="unexpected keyword"):
        backend(chunks=2)
    with pytest.raises(BackendError, match="no license"):
        backend(load_error="no license").load()
