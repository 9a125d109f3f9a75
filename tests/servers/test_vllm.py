"""The same tasks through ``hf`` and through a real vLLM give the same answers, by every protocol and way of asking."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.servers import tiny
from tests.servers.processes import Server
from tests.servers.runs import CONTEXT, GENERATED, LONG, SCORED, Asked, Folder, hf

TOLERANCE = 1e-3
CHAT = {"apply_chat_template": True, "system_instruction": "the answer"}
WAYS: dict[str, dict[str, Any]] = {
    "tokens": {"prompts": "tokens"},
    "echo": {"scoring": "echo"},
    "prompt_logprobs": {"scoring": "prompt_logprobs"},
    "batches": {"batch_prompts": 4, "concurrency": {"start": 2, "max": 2}},
}
"""Ways of asking ``/completions`` with tokens."""
TEXT_WAYS: dict[str, dict[str, Any]] = {"text": {"prompts": "text"}, "no-tokenizer": {"tokenizer": None}}


def completions(server: Server, model: Path, **options: Any) -> dict[str, Any]:
    """A model's table; an option that is None is left out."""
    table: dict[str, Any] = {"backend": "openai-completions", "model": server.model, "base_url": server.base_url}
    # One token is generated and none of the others is the last input: windows are as long as those of the model itself.
    table |= {"tokenizer": str(model), "max_length": CONTEXT + 2, **options}
    return {key: value for key, value in table.items() if value is not None}


def assert_same(found: Asked, expected: Asked) -> None:
    """Equal answers, request by request, and equal scores."""
    assert found.code == 0, found.said
    assert found.samples
    for task in found.samples:
        pairs = zip(found.responses(task), expected.responses(task), strict=True)
        different = [(f, e) for f, e in pairs if _reduced(f, e) != _reduced(e, e)]
        assert not different, f"{task}: {len(different)} answers differ, first {different[0]}"
    assert found.scores == pytest.approx({key: expected.scores[key] for key in found.scores}, abs=TOLERANCE)


def _reduced(response: Mapping[str, Any], like: Mapping[str, Any]) -> dict[str, Any]:
    """What has to be equal; of a whole text, the model itself does not say whether it is greedy."""
    names = [name for name in ("text", "reasoning", "finish_reason", "error") if name in response]
    names += ["is_greedy"] if "is_greedy" in like else []
    scored = {"logprob": pytest.approx(response["logprob"], abs=TOLERANCE)} if "logprob" in response else {}
    return {**{name: response.get(name) for name in names}, **scored}


@pytest.mark.parametrize("way", WAYS)
def test_completions_agree_with_the_model_itself(
    vllm: Server, model: Path, folder: Folder, local: Asked, way: str
) -> None:
    found = folder.ask(completions(vllm, model, **WAYS[way]), (*SCORED, LONG, *GENERATED))
    assert_same(found, local)


@pytest.mark.parametrize("way", TEXT_WAYS)
def test_texts_agree_with_the_model_itself(vllm: Server, model: Path, folder: Folder, local: Asked, way: str) -> None:
    found = folder.ask(completions(vllm, model, **TEXT_WAYS[way]), ("real_words", "real_choices", *GENERATED))
    assert_same(found, local)


@pytest.mark.parametrize("way", TEXT_WAYS)
def test_whole_texts_agree_with_the_model_itself(vllm: Server, model: Path, folder: Folder, way: str) -> None:
    # In tokens, a text stands after one BOS that is always there and the one that the tokenizer adds; as a text, it
    # stands after the latter alone.
    expected = folder.ask(hf(model, add_bos_token=False), ["real_rolling"])
    found = folder.ask(completions(vllm, model, **TEXT_WAYS[way]), ["real_rolling"])
    assert_same(found, expected)


def test_tokens_are_counted_as_the_model_itself_counts(vllm: Server, model: Path, folder: Folder, local: Asked) -> None:
    found = folder.ask(completions(vllm, model), GENERATED)
    for task in GENERATED:
        theirs = [response["prompt_tokens"] for response in local.responses(task)]
        assert [response["prompt_tokens"] for response in found.responses(task)] == theirs


def test_choices_of_one_token_by_the_next_token(vllm: Server, model: Path, folder: Folder, local: Asked) -> None:
    found = folder.ask(completions(vllm, model, scoring="next_token"), ["real_words"])
    assert found.code in (0, 1), found.said
    known = 0
    for ours, theirs in zip(found.responses("real_words"), local.responses("real_words"), strict=True):
        if "error" not in ours:  # not among the likeliest
            assert _reduced(ours, theirs) == _reduced(theirs, theirs)
            known += 1
    assert known


def test_longer_choices_are_refused_where_only_the_next_token_is_scored(
    vllm: Server, model: Path, folder: Folder
) -> None:
    found = folder.ask(completions(vllm, model, scoring="next_token"), ["real_rolling"])
    assert found.code == 3
    assert "Traceback" not in found.said
    assert "rolling" in found.said


@pytest.fixture(scope="session")
def local_chat(model: Path, folder: Folder) -> Asked:
    """Chats with the model in the process itself; its reasoning is split off."""
    return folder.ask(hf(model, reasoning="auto"), ["real_riddles", "real_prefix"], CHAT)


def protocols(server: Server, model: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Tables of models that are asked the same chats."""
    delimiters = {"start": tiny.THINK, "end": tiny.THOUGHT}
    common = {"model": server.model, "base_url": server.base_url, "reasoning": delimiters}
    yield "openai-chat", {"backend": "openai-chat", **common}
    yield "anthropic", {"backend": "anthropic", **common, "api_key_env": "SERVERS_TEST_KEY"}
    yield "openai-completions", completions(server, model, reasoning=delimiters)


@pytest.mark.parametrize("protocol", ["openai-chat", "anthropic", "openai-completions"])
def test_chats_agree_with_the_model_itself(
    vllm: Server, model: Path, folder: Folder, local_chat: Asked, protocol: str
) -> None:
    table = dict(protocols(vllm, model))[protocol]
    found = folder.ask(table, ["real_riddles"], CHAT, {"SERVERS_TEST_KEY": "none"})
    assert_same(found, local_chat)
    assert {response["reasoning"] for response in found.responses("real_riddles")}


@pytest.mark.parametrize("protocol", ["openai-chat", "openai-completions"])
def test_a_chat_goes_on_from_the_beginning_of_its_answer(
    vllm: Server, model: Path, folder: Folder, local_chat: Asked, protocol: str
) -> None:
    found = folder.ask(dict(protocols(vllm, model))[protocol], ["real_prefix"], CHAT)
    assert_same(found, local_chat)


def test_choices_of_one_token_in_a_chat(vllm: Server, model: Path, folder: Folder) -> None:
    expected = folder.ask(hf(model), ["real_words"], CHAT)
    found = folder.ask(dict(protocols(vllm, model))["openai-chat"], ["real_words"], CHAT)
    assert found.code in (0, 1), found.said
    pairs = zip(found.responses("real_words"), expected.responses("real_words"), strict=True)
    known = [(ours, theirs) for ours, theirs in pairs if "error" not in ours]
    assert known
    for ours, theirs in known:
        assert ours["logprob"] == pytest.approx(theirs["logprob"], abs=TOLERANCE)


def test_whole_texts_are_refused_in_a_chat(vllm: Server, model: Path, folder: Folder) -> None:
    found = folder.ask(dict(protocols(vllm, model))["openai-chat"], ["real_rolling"])
    assert found.code == 3
    assert "openai-completions" in found.said


def test_a_name_that_is_not_served_stops_the_model_with_a_hint(vllm: Server, model: Path, folder: Folder) -> None:
    for backend in ("openai-completions", "openai-chat"):
        found = folder.ask({"backend": backend, "model": "other", "base_url": vllm.base_url}, ["real_generate"])
        assert found.code == 3, found.said
        assert "other" in found.said
        assert "hint" in found.said.lower()
        assert "Traceback" not in found.said
