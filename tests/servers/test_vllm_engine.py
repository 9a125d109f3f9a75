"""The ``vllm`` backend with a real engine: the answers of ``hf``, in any order, and through the death of the engine."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.servers.runs import CONTEXT, GENERATED, LONG, ROOT, SCORED, Asked, Folder, hf
from tests.servers.test_vllm import CHAT, TOLERANCE, assert_same

ENGINE = {"kv_cache_memory_bytes": 1 << 28}


def table(model: Path, **options: Any) -> dict[str, Any]:
    common = {"backend": "vllm", "model": str(model), "dtype": "float32", "max_length": CONTEXT}
    return {**common, "enforce_eager": True, "engine": ENGINE, **options}


def test_all_kinds_of_requests_agree_with_hf(engine_python: str, model: Path, folder: Folder, local: Asked) -> None:
    found = folder.ask(table(model), (*SCORED, LONG, *GENERATED), python=engine_python)
    assert_same(found, local)
    for task in (*SCORED, *GENERATED):
        ours, theirs = found.responses(task), local.responses(task)
        for name in ("prompt_tokens", "completion_tokens", "dropped_tokens"):
            assert [r.get(name) for r in ours] == [r.get(name) for r in theirs]
    assert "EngineCore" not in found.said, "what vLLM logs belongs into its file"


def test_chats_with_reasoning_on_two_engines_agree_with_hf(engine_python: str, model: Path, folder: Folder) -> None:
    tasks = ["real_riddles", "real_prefix", "real_words"]
    expected = folder.ask(hf(model, reasoning="auto"), tasks, CHAT)
    found = folder.ask(table(model, reasoning="auto", data_parallel_size=2), tasks, CHAT, python=engine_python)
    assert_same(found, expected)
    assert {response["reasoning"] for response in found.responses("real_riddles")}


@pytest.fixture(scope="session")
def driven(engine_python: str, model: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What :mod:`tests.servers.drive_engine` tells."""
    settings = {**os.environ, "PYTHONPATH": str(ROOT)}
    settings["LMRUN_CACHE_DIR"] = str(tmp_path_factory.mktemp("cache"))
    command = [engine_python, "-m", "tests.servers.drive_engine", str(model)]
    done = subprocess.run(command, env=settings, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    told: dict[str, Any] = json.loads(done.stdout)
    return told


def assert_equal(found: list[dict[str, Any]], expected: list[dict[str, Any]]) -> None:
    assert len(found) == len(expected)
    for ours, theirs in zip(found, expected, strict=True):
        assert {**ours, "logprob": None} == {**theirs, "logprob": None}
        assert ours["logprob"] == pytest.approx(theirs["logprob"], abs=TOLERANCE)


def test_answers_do_not_depend_on_the_order_of_requests(driven: dict[str, Any]) -> None:
    first, second = driven["orders"]
    assert {answer["error"] for answer in first} == {"None"}
    assert_equal(second, first)


def test_an_interrupt_waits_for_what_is_under_way(driven: dict[str, Any]) -> None:
    expected = driven["orders"][0]
    assert driven["before"]["drained"] > 0
    assert 0 < len(driven["interrupted"]) < len(expected)
    for place, answer in driven["interrupted"].items():
        assert_equal([answer], [expected[int(place)]])


def test_a_killed_engine_is_started_once_more_with_smaller_limits(driven: dict[str, Any]) -> None:
    assert_equal(driven["killed"], driven["orders"][0])
    for name in ("max_num_batched_tokens", "gpu_memory_utilization"):
        assert driven["after"][name] < driven["before"][name]


def test_a_second_death_is_an_error_with_a_hint_and_leaves_nothing_behind(driven: dict[str, Any]) -> None:
    message, hint = driven["second"]
    assert "smaller limits" in message
    assert "max_num_seqs" in hint
    assert driven["left"] == []


def test_an_adapter_counts_as_if_it_were_merged(
    engine_python: str, model: Path, folder: Folder, tmp_path: Path
) -> None:
    adapter, merged = tmp_path / "adapter", tmp_path / "merged"
    save_adapter(model, adapter, merged)
    tasks = ["real_words", "real_choices", "real_generate"]
    expected = folder.ask(hf(merged), tasks)
    found = folder.ask(table(model, adapter=str(adapter)), tasks, python=engine_python)
    assert_same(found, expected)


def save_adapter(model: Path, adapter: Path, merged: Path) -> None:
    """A LoRA adapter with random weights, and the model with them added to its own."""
    import torch
    from safetensors.torch import load_file, save_file

    rank, alpha = 8, 16
    shutil.copytree(model, merged)
    weights = load_file(model / "model.safetensors")
    torch.manual_seed(0)
    parts: dict[str, Any] = {}
    for name in [name for name in weights if name.endswith(("q_proj.weight", "v_proj.weight", "down_proj.weight"))]:
        rows, columns = weights[name].shape
        down, up = torch.randn(rank, columns) * 0.1, torch.randn(rows, rank) * 0.1
        weights[name] = weights[name] + alpha / rank * up @ down
        stem = f"base_model.model.{name.removesuffix('.weight')}"
        parts |= {f"{stem}.lora_A.weight": down, f"{stem}.lora_B.weight": up}
    save_file(weights, merged / "model.safetensors", {"format": "pt"})
    adapter.mkdir()
    save_file(parts, adapter / "adapter_model.safetensors", {"format": "pt"})
    config = {"peft_type": "LORA", "task_type": "CAUSAL_LM", "r": rank, "lora_alpha": alpha, "bias": "none"}
    config |= {"base_model_name_or_path": str(model), "target_modules": ["q_proj", "v_proj", "down_proj"]}
    (adapter / "adapter_config.json").write_text(json.dumps(config), encoding="utf-8")
