"""The programs that are compared, each run as a process of its own."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from measuring import Ended, measured

from apibench.server import ROOT, Handle, Stats
from apibench.work import MAX_TOKENS, Work


@dataclass(frozen=True)
class Ran(Ended):
    """A process that has ended, and what the server saw of it."""

    stats: Stats

    @property
    def first_request(self) -> float:
        """Seconds from the start of the process."""
        return self.stats.first - self.started

    def per_request(self, work: Work) -> float:
        """Processor time per request, in milliseconds, start-up included."""
        return 1000 * self.cpu / work.requests


@dataclass(frozen=True)
class Client:
    """A way to send the requests of a work to a server."""

    name: str
    most: int = 1_000_000
    """Requests that can be waited for."""

    def command(self, work: Work, server: Handle, concurrency: int) -> list[str]:
        """What is started."""
        raise NotImplementedError

    def can(self, work: Work) -> bool:
        return True

    def environment(self, server: Handle) -> Mapping[str, str]:
        return {}

    def ask(self, work: Work, server: Handle, concurrency: int) -> Ran:
        """Run it to its end."""
        server.reset()
        command = self.command(work, server, concurrency)
        environment = {**os.environ, **QUIET, **self.environment(server)}
        ended = measured(command, work.folder, environment)
        return Ran(**vars(ended), stats=server.stats())


QUIET = {"TOKENIZERS_PARALLELISM": "false", "HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", "OMP_NUM_THREADS": "1"}


@dataclass(frozen=True)
class Bare(Client):
    """aiohttp and a loop."""

    name: str = "bare aiohttp"

    def command(self, work: Work, server: Handle, concurrency: int) -> list[str]:
        bodies = work.folder / f"{work.task}-bodies.jsonl"
        if not bodies.exists():
            bodies.write_text("".join(json.dumps(body) + "\n" for body in work.bodies()), encoding="utf-8")
        path = "/v1/completions" if work.kind == "completions" else "/v1/chat/completions"
        script = ROOT / "benchmarks" / "apibench" / "bare.py"
        return [sys.executable, str(script), server.url + path, str(bodies), str(concurrency)]


@dataclass(frozen=True)
class Lmrun(Client):
    """``lmrun batch`` with cache and store on, and nothing cached."""

    name: str = "lmrun"
    options: Mapping[str, Any] = field(default_factory=dict)
    """Further keys of the model."""
    start: int | None = None
    """In flight at first; None: as many as at most."""

    def manifest(self, work: Work, server: Handle, concurrency: int) -> Path:
        values: dict[str, Any] = {"name": "tiny", "model": "tiny", "base_url": f"{server.url}/v1"}
        values |= {"backend": f"openai-{work.kind}"}
        if work.kind == "completions":
            values["tokenizer"] = str(work.tokenizer)
        lines = ["[[models]]", *(f"{key} = {json.dumps(value)}" for key, value in {**values, **self.options}.items())]
        start = min(self.start or concurrency, concurrency)
        lines += [f"concurrency = {{ start = {start}, max = {concurrency} }}"]
        lines += ["[[tasks]]", f'name = "{work.task}"']
        lines += ["apply_chat_template = true"] if work.kind == "chat" else []
        lines += ["[tasks_path]", f"paths = [{json.dumps(str(work.folder / 'tasks'))}]"]
        path = work.folder / "bench.toml"
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")
        return path

    def command(self, work: Work, server: Handle, concurrency: int) -> list[str]:
        new = work.folder / f"lmrun-{time.time_ns()}"
        return self.batch(self.manifest(work, server, concurrency), new)

    def batch(self, manifest: Path, folder: Path) -> list[str]:
        """The command that runs or resumes a manifest, with everything in one folder."""
        places = ["--runs-dir", str(folder), "--cache", str(folder / "cache.db")]
        return [sys.executable, "-m", "lmrun", "batch", str(manifest), "--json", *places]

    def environment(self, server: Handle) -> Mapping[str, str]:
        return {"PYTHONPATH": str(ROOT)}


@dataclass(frozen=True)
class LmEval(Client):
    """``local-completions`` and ``local-chat-completions``."""

    name: str = "lm-eval"
    most: int = 20_000
    python: str = ""

    def command(self, work: Work, server: Handle, concurrency: int) -> list[str]:
        path, model = "completions", "local-completions"
        tokens = f"tokenizer={work.tokenizer},tokenizer_backend=huggingface,tokenized_requests=True,max_length=4096"
        if work.kind == "chat":
            path, model, tokens = "chat/completions", "local-chat-completions", "max_length=4096"
        where = f"model=tiny,base_url={server.url}/v1/{path},num_concurrent={concurrency},{tokens}"
        command = [self.python, "-m", "lm_eval", "--model", model, "--model_args", where, "--tasks", work.task]
        chat = ["--apply_chat_template"] if work.kind == "chat" else []
        places = ["--include_path", str(work.folder / "tasks"), "--output_path", str(work.folder / "lm-eval")]
        return [*command, *chat, *places]

    def environment(self, server: Handle) -> Mapping[str, str]:
        return {"OPENAI_API_KEY": "none"}


@dataclass(frozen=True)
class Inspect(Client):
    """inspect_ai, which has chats only."""

    name: str = "inspect_ai"
    most: int = 1_000
    python: str = ""

    def can(self, work: Work) -> bool:
        return work.kind == "chat"

    def command(self, work: Work, server: Handle, concurrency: int) -> list[str]:
        script = ROOT / "benchmarks" / "apibench" / "inspecting.py"
        data = work.folder / f"{work.task}.jsonl"
        return [self.python, str(script), str(data), str(work.folder / "logs"), str(concurrency), str(MAX_TOKENS)]

    def environment(self, server: Handle) -> Mapping[str, str]:
        return {"BENCH_API_KEY": "none", "BENCH_BASE_URL": f"{server.url}/v1", "INSPECT_LOG_LEVEL": "error"}


def peers() -> list[Client]:
    """Those whose Python is named in the environment."""
    lm_eval, inspect = os.environ.get("LMRUN_LMEVAL_PYTHON"), os.environ.get("LMRUN_INSPECT_PYTHON")
    found: list[Client] = [LmEval(python=lm_eval)] if lm_eval else []
    return [*found, Inspect(python=inspect)] if inspect else found
