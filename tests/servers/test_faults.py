"""A real server behind a proxy that loses, breaks and refuses requests: the same answers as without it."""

from __future__ import annotations

from pathlib import Path

import pytest

from lmrun.testing.proxy import FaultProxy
from lmrun.testing.script import Fault, Script
from tests.servers.processes import Server
from tests.servers.runs import GENERATED, SCORED, Asked, Folder
from tests.servers.test_refused import assert_not_scored
from tests.servers.test_vllm import assert_same, completions

FAULTS = (
    Fault("status", share=0.1, status=500),
    Fault("status", share=0.1, status=503),
    Fault("status", share=0.1, status=429),
    Fault("reset", share=0.1),
    Fault("cut_off", share=0.1),
    Fault("truncated", share=0.1),
    Fault("null_content", share=0.1, path="/completions"),
)


@pytest.mark.parametrize("scoring", ["echo", "prompt_logprobs"])
def test_faults_on_the_way_change_nothing(
    vllm: Server, model: Path, folder: Folder, local: Asked, scoring: str
) -> None:
    with FaultProxy(vllm.url, Script(faults=FAULTS)) as proxy:
        server = Server(proxy.url, vllm.model)
        patient = {"retry": {"attempts": 30, "max_wait": 0.2}, "scoring": scoring}
        found = folder.ask(completions(server, model, **patient), (*SCORED, *GENERATED))
        stats = proxy.stats()
    assert_same(found, local)
    assert {fault.kind for fault in FAULTS} <= set(stats["faults"])


def test_shifted_log_probabilities_make_no_score(vllm: Server, model: Path, folder: Folder) -> None:
    with FaultProxy(vllm.url, Script(faults=[Fault("shifted_logprobs")])) as proxy:
        server = Server(proxy.url, vllm.model)
        for tokenizer in (str(model), None):
            options = {"tokenizer": tokenizer, "scoring": "echo"}
            found = folder.ask(completions(server, model, **options), ["real_choices"])
            assert_not_scored(found, "real_choices")
