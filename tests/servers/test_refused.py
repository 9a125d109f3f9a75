"""Real servers that cannot score a text are found out before the first request of a task, and can still generate."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.servers.processes import Server
from tests.servers.runs import SCORED, Asked, Folder


def table(server: Server, **options: Any) -> dict[str, Any]:
    return {"backend": "openai-completions", "model": server.model, "base_url": server.base_url, **options}


def assert_not_scored(found: Asked, task: str) -> None:
    """Refused before anything was asked or, where some choices could have been scored, an error in each sample."""
    assert found.code in (1, 3), found.said
    assert "Traceback" not in found.said
    assert not [sample for sample in found.samples[task] if sample["status"] == "scored"]


@pytest.mark.parametrize("task", ["real_choices", "real_rolling"])
@pytest.mark.parametrize("tokenizer", [True, False])
def test_shifted_log_probabilities_make_no_score(
    llama_cpp: Server, model: Path, folder: Folder, task: str, *, tokenizer: bool
) -> None:
    options = {"tokenizer": str(model), "add_bos_token": False} if tokenizer else {}
    assert_not_scored(folder.ask(table(llama_cpp, **options), [task]), task)


def test_dropped_log_probabilities_are_refused(serve: Server, model: Path, folder: Folder) -> None:
    for task in SCORED:
        found = folder.ask(table(serve, tokenizer=str(model)), [task])
        assert found.code == 3, found.said
        assert_not_scored(found, task)


def test_llama_cpp_generates_what_the_model_itself_does(llama_cpp: Server, folder: Folder, local: Asked) -> None:
    # This server is not told to begin with a BOS; in a text it is one token all the same.
    pytest.importorskip("transformers")
    found = folder.ask(table(llama_cpp), ["real_generate"])
    assert found.code == 0, found.said
    assert len(found.responses("real_generate")) == len(local.responses("real_generate"))


def test_transformers_serve_generates_what_the_model_itself_does(
    serve: Server, model: Path, folder: Folder, local: Asked
) -> None:
    found = folder.ask(table(serve, tokenizer=str(model)), ["real_generate"])
    assert found.code == 0, found.said
    texts = [response["text"] for response in found.responses("real_generate")]
    assert texts == [response["text"] for response in local.responses("real_generate")]
