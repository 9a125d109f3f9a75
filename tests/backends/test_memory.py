"""Memory that runs out in the middle of a run: only that batch is split, and no score changes."""

from __future__ import annotations

from typing import Any

import pytest

from lmrun.backends.base import ModelSpec
from lmrun.backends.hf import HfBackend
from lmrun.requests import Request
from tests.backends.conftest import Load
from tests.backends.test_generating import prompts
from tests.backends.test_scoring import answers, pairs, texts

torch = pytest.importorskip("torch")


@pytest.fixture
def backend(folders: Any) -> HfBackend:
    made = HfBackend(
        ModelSpec("m", "hf", str(folders("llama")), {"device": "cpu", "batch_tokens": 2048, "exact": True})
    )
    made.load()
    return made


def limit(backend: HfBackend, monkeypatch: pytest.MonkeyPatch, tokens: int, error: Exception) -> list[int]:
    """Let every pass over more than ``tokens`` tokens fail; returns the sizes of those that did."""
    loaded = backend._loaded
    assert loaded is not None
    failed: list[int] = []

    def limited(call: Any) -> Any:
        def run(**inputs: Any) -> Any:
            size = inputs["input_ids"].numel()
            if size > tokens:
                failed.append(size)
                raise error
            return call(**inputs)

        return run

    monkeypatch.setattr(loaded, "forward", limited(loaded.model))
    monkeypatch.setattr(loaded, "generate", limited(loaded.model.generate))
    return failed


@pytest.mark.parametrize(
    "error",
    [
        torch.cuda.OutOfMemoryError("CUDA out of memory"),
        RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 1 bytes"),
        MemoryError(),
    ],
)
@pytest.mark.parametrize("requests", [pairs(), texts()], ids=["pairs", "rolling"])
def test_scores_are_the_same_when_memory_runs_out(
    backend: HfBackend, monkeypatch: pytest.MonkeyPatch, error: Exception, requests: list[Request]
) -> None:
    whole = answers(backend, requests)
    failed = limit(backend, monkeypatch, 300, error)
    assert answers(backend, requests) == whole
    assert failed


def test_the_limit_is_remembered(backend: HfBackend, monkeypatch: pytest.MonkeyPatch) -> None:
    failed = limit(backend, monkeypatch, 300, torch.cuda.OutOfMemoryError("out of memory"))
    answers(backend, pairs())
    n = len(failed)
    assert n <= 12
    answers(backend, pairs())
    assert len(failed) == n


def test_a_request_that_does_not_fit_alone_is_an_error_and_the_others_are_answered(
    backend: HfBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    limit(backend, monkeypatch, 100, torch.cuda.OutOfMemoryError("out of memory"))
    requests = [Request("loglikelihood", "the cat " * 80, " sat"), Request("loglikelihood", "the cat", " sat")]
    found = answers(backend, requests)
    assert found[0].error is not None
    assert found[0].error.kind == "out_of_memory"
    assert found[1].logprob is not None
    rolling = answers(backend, [Request("loglikelihood_rolling", "", "the cat " * 80)])[0]
    assert rolling.error is not None


def test_answers_are_the_same_when_memory_runs_out(backend: HfBackend, monkeypatch: pytest.MonkeyPatch) -> None:
    requests = prompts(24)
    whole = answers(backend, requests)
    failed = limit(backend, monkeypatch, 300, torch.cuda.OutOfMemoryError("out of memory"))
    assert answers(backend, requests) == whole
    assert failed


def test_other_failures_are_not_hidden(backend: HfBackend, monkeypatch: pytest.MonkeyPatch) -> None:
    limit(backend, monkeypatch, 0, RuntimeError("device-side assert triggered"))
    with pytest.raises(RuntimeError, match="device-side"):
        answers(backend, pairs(1))


def test_close_is_safe_at_any_time(load: Load, folders: Any) -> None:
    made = HfBackend(ModelSpec("m", "hf", str(folders("llama")), {"device": "cpu"}))
    made.close()
    made.load()
    made.close()
    made.close()
