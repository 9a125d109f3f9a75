"""Run by the Python of vLLM: asks one engine the same in two orders, kills it while it answers, and kills it again.

Prints one JSON object.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
from collections.abc import Generator, Sequence
from typing import Any

import psutil

from lmrun.backends.base import ModelSpec, Needs
from lmrun.backends.vllm import VllmBackend
from lmrun.errors import BackendError
from lmrun.requests import Request, Response
from tests.backends.make import WORDS

HEADER = " ".join(WORDS * 3) + "\n\n"


def requests() -> list[Request]:
    """Choices of one token and of several behind a long header, a text, and answers that are drawn."""
    made = []
    for i in range(12):
        question = f"{HEADER}Question: {' '.join(WORDS[i : i + 4])}?\nAnswer:"
        made += [
            Request("loglikelihood", question, f" {word}") for word in ("yes", "no", "the cat sat", "a mat and rain")
        ]
    made += [Request("loglikelihood_rolling", "", HEADER * 4)]
    drawn = {"do_sample": True, "temperature": 0.8, "max_gen_toks": 60}
    made += [Request("generate_until", f"{HEADER}{word}", generation=drawn, seed=1) for word in WORDS[:12]]
    return made


def ask(backend: VllmBackend, asked: Sequence[tuple[int, Request]], deaths: int = 0) -> dict[int, Response]:
    """Answers to requests; the engine is killed behind so many of the first chunks with answers."""
    answers: dict[int, Response] = {}
    for chunk in backend.stream(iter(asked)):
        answers.update(chunk)
        if chunk and deaths and len(answers) < len(asked):
            deaths -= 1
            for child in psutil.Process().children():
                os.kill(child.pid, signal.SIGKILL)
    return answers


def interrupted(backend: VllmBackend, asked: Sequence[tuple[int, Request]]) -> dict[int, Response]:
    """Answers that come although there is an interrupt behind the first of them."""
    stream = backend.stream(iter(asked))
    assert isinstance(stream, Generator)
    answers: dict[int, Response] = {}
    while not answers:
        answers.update(next(stream))
    try:
        answers.update(stream.throw(KeyboardInterrupt()))
        for chunk in stream:
            answers.update(chunk)
    except KeyboardInterrupt:
        return answers
    raise AssertionError("the interrupt is lost")


def plain(answers: dict[int, Response]) -> list[dict[str, Any]]:
    """Answers in the order of the requests."""
    names = ("text", "logprob", "is_greedy", "finish_reason")
    return [
        {**{name: getattr(answers[i], name) for name in names}, "error": str(answers[i].error)} for i in sorted(answers)
    ]


def main() -> None:
    """Ask, kill, and tell."""
    # It takes few at once, so that some are never with it when it is killed.
    engine = {"kv_cache_memory_bytes": 1 << 28, "max_num_seqs": 4}
    options = {"dtype": "float32", "max_length": 256, "enforce_eager": True, "engine": engine}
    backend = VllmBackend(ModelSpec("m", "vllm", sys.argv[1], options))
    backend.load()
    backend.check(Needs(frozenset(("loglikelihood", "loglikelihood_rolling", "generate_until"))))
    listed = list(enumerate(requests()))
    told: dict[str, Any] = {"orders": []}
    for seed in (1, 2):
        shuffled = list(listed)
        random.Random(seed).shuffle(shuffled)
        told["orders"].append(plain(ask(backend, shuffled)))
    waited = interrupted(backend, listed)
    told["interrupted"] = dict(zip(sorted(waited), plain(waited), strict=True))
    told["before"] = dict(backend.usage().facts)
    told["killed"] = plain(ask(backend, listed, deaths=1))
    told["after"] = dict(backend.usage().facts)
    try:
        ask(backend, listed, deaths=1)
    except BackendError as error:
        told["second"] = [error.message, error.hint]
    backend.close()
    told["left"] = [child.pid for child in psutil.Process().children(recursive=True)]
    print(json.dumps(told))  # noqa: T201


if __name__ == "__main__":
    main()
