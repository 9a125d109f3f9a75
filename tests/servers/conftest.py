"""Real inference servers, each started once for all tests that ask it."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.servers import tiny
from tests.servers.processes import Process, Server, free_port
from tests.servers.runs import ROOT, Asked, Folder, hf

PYTHONS = {
    "vllm": "LMRUN_VLLM_PYTHON",
    "engine_python": "LMRUN_VLLM_PYTHON",
    "llama_cpp": "LMRUN_LLAMA_CPP_PYTHON",
    "serve": "LMRUN_TRANSFORMERS_PYTHON",
}
"""Fixtures of servers, and the variable that names the Python of each."""
READY = 180.0
"""Seconds that a server has to come up."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    for item in items:
        if here not in item.path.parents:
            continue
        item.add_marker(pytest.mark.servers)
        item.add_marker(pytest.mark.timeout(900))
        names = getattr(item, "fixturenames", ())
        for variable in (PYTHONS[name] for name in PYTHONS if name in names):
            if not os.environ.get(variable):
                item.add_marker(pytest.mark.skip(reason=f"set {variable} to the Python of an environment with it"))


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of the model that all servers serve."""
    pytest.importorskip("torch")
    pytest.importorskip("transformers")
    return tiny.save(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="session")
def vllm(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """vLLM on the CPU, in full precision."""
    server = Server(f"http://127.0.0.1:{(port := free_port())}", "tiny")
    arguments = f"--served-model-name tiny --dtype float32 --max-model-len {tiny.POSITIONS} --max-logprobs 50"
    arguments += f" --enforce-eager --block-size 32 --host 127.0.0.1 --port {port}"
    command = [os.environ[PYTHONS["vllm"]], "-m", "vllm.entrypoints.openai.api_server", "--model", str(model)]
    environment = {
        "HF_HUB_OFFLINE": "1",
        "VLLM_CPU_KVCACHE_SPACE": "1",
        "VLLM_NO_USAGE_STATS": "1",
        "DO_NOT_TRACK": "1",
        "PYTHONPATH": "",
    }
    process = Process([*command, *arguments.split()], tmp_path_factory.mktemp("vllm") / "log.txt", environment)
    try:
        process.wait_for(f"{server.url}/health", READY)
        yield server
    finally:
        process.end()


@pytest.fixture(scope="session")
def engine_python() -> str:
    """The Python of vLLM, in which lmrun runs as well."""
    python = os.environ[PYTHONS["engine_python"]]
    command = [python, "-c", "import lmrun.engine.run, lmrun.cli"]
    found = subprocess.run(
        command, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=False
    )
    if found.returncode:
        pytest.skip(f"{python} has not all that lmrun needs: {found.stderr.splitlines()[-1]}")
    return python


@pytest.fixture(scope="session")
def serve(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """``transformers serve``: takes ``echo`` and ``logprobs`` and answers without them."""
    server = Server(f"http://127.0.0.1:{(port := free_port())}", str(model))
    python = Path(os.environ[PYTHONS["serve"]])
    command = [str(python.parent / "transformers"), "serve", str(model), "--host", "127.0.0.1", "--port", str(port)]
    log = tmp_path_factory.mktemp("serve") / "log.txt"
    process = Process([*command, "--device", "cpu"], log, {"HF_HUB_OFFLINE": "1", "PYTHONPATH": ""})
    try:
        process.wait_for(f"{server.url}/health", READY)
        yield server
    finally:
        process.end()


@pytest.fixture(scope="session")
def llama_cpp(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """llama-cpp-python, which gives each token of a prompt that has no BOS the log-probability of the one after it."""
    import numpy as np
    from safetensors.numpy import load_file

    made = tmp_path_factory.mktemp("gguf")
    for name in ("config.json", "tokenizer.json"):
        shutil.copy(model / name, made)
    np.savez(made / "weights.npz", **load_file(model / "model.safetensors"))
    python, file = os.environ[PYTHONS["llama_cpp"]], made / "tiny.gguf"
    subprocess.run([python, str(Path(__file__).with_name("to_gguf.py")), str(made), str(file)], check=True)
    server = Server(f"http://127.0.0.1:{(port := free_port())}", "tiny")
    arguments = f"--model_alias tiny --n_ctx {tiny.POSITIONS} --logits_all true --host 127.0.0.1 --port {port}"
    command = [python, "-m", "llama_cpp.server", "--model", str(file), *arguments.split()]
    process = Process(command, made / "log.txt", {"PYTHONPATH": ""})
    try:
        process.wait_for(f"{server.url}/v1/models", READY)
        yield server
    finally:
        process.end()


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Folder:
    """Tasks, runs and one cache of all tests here."""
    return Folder(tmp_path_factory.mktemp("runs"))


@pytest.fixture(scope="session")
def local(model: Path, folder: Folder) -> Asked:
    """What the model says when it is asked in the process itself: what every server has to say."""
    return folder.ask(hf(model))
