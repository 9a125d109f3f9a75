"""A server that speaks the protocols of OpenAI, vLLM and Anthropic, without a model behind it.

In a test::

    with ScriptedServer(Script(faults=[Fault("status", share=0.1, status=503)])) as server:
        ...  # ask server.base_url
    server.stats()

In a terminal: ``python -m lmrun.testing.server --port 8777 --latency 0.05``; more is said by ``--script FILE.toml``,
whose keys are those of :class:`~lmrun.testing.script.Script`.
"""

from __future__ import annotations

import argparse
import dataclasses
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
from aiohttp import web

from lmrun.testing import chat, completions
from lmrun.testing.errors import error, refusal
from lmrun.testing.generating import Body, Engine, Refused
from lmrun.testing.script import Script, read_script
from lmrun.testing.serving import Reply, Server
from lmrun.testing.tokens import save_tokenizer

Endpoint = Callable[[Engine, Body, frozenset[str]], Any]


class ScriptedServer(Server):
    """Answers by hash of the prompt, and does what its script says."""

    def __init__(self, script: Script | None = None, *, port: int = 0, keep: int = 1000) -> None:
        self.script = script = script or Script()
        super().__init__(
            faults=script.faults,
            seed=script.seed,
            limits=script.limits,
            latency=script.latency,
            port=port,
            keep=keep,
        )
        self.engine = Engine(script)
        self._endpoints: dict[tuple[str, str], Endpoint] = {
            ("POST", "/completions"): completions.answer,
            ("POST", "/chat/completions"): chat.answer,
            ("POST", "/tokenize"): _tokenize,
            ("GET", "/models"): _models,
            ("GET", "/health"): lambda engine, body, kinds: {},
        }

    def save_tokenizer(self, folder: Path) -> Path:
        """Write the model's ``tokenizer.json`` into a folder; the folder."""
        return save_tokenizer(folder)

    async def reply(self, request: web.BaseRequest, body: bytes, kinds: frozenset[str]) -> Reply:
        """What the endpoint answers."""
        path = request.path
        if self.script.api_key and self.script.api_key not in _keys(request):
            return Reply(401, error(path, 401))
        endpoint = self._endpoints.get((request.method, path.removeprefix("/v1")))
        if endpoint is None:
            return Reply(404, error(path, 404, f"Unknown request URL: {request.method} {path}."))
        try:
            return Reply(200, endpoint(self.engine, orjson.loads(body or b"null"), kinds))
        except orjson.JSONDecodeError as broken:
            return Reply(400, error(path, 400, f"The body is not JSON: {broken}"))
        except Refused as refused:
            return Reply(refused.status, refusal(path, refused))


def _keys(request: web.BaseRequest) -> list[str]:
    headers = request.headers
    bearer = headers.get("Authorization", "").removeprefix("Bearer ")
    return [bearer, headers.get("x-api-key", ""), headers.get("api-key", "")]


def _models(engine: Engine, body: Body, kinds: frozenset[str]) -> dict[str, Any]:
    script = engine.script
    model = {
        "id": script.model,
        "object": "model",
        "created": int(time.time()),
        "owned_by": "lmrun",
        "max_model_len": script.context_length,
    }
    return {"object": "list", "data": [model]}


def _tokenize(engine: Engine, raw: Body, kinds: frozenset[str]) -> dict[str, Any]:
    body = engine.read({"model": engine.script.model, **raw})
    if "messages" in body:
        text = chat.rendered(body["messages"], continues=bool(body.get("continue_final_message")))
    else:
        text = str(body.get("prompt", ""))
    ids = engine.tokens.encode(text)
    strings = [engine.tokens.strings[i] for i in ids] if body.get("return_token_strs") else None
    return {"count": len(ids), "max_model_len": engine.script.context_length, "tokens": ids, "token_strs": strings}


def main() -> None:
    """Serve until interrupted."""
    parser = argparse.ArgumentParser(prog="python -m lmrun.testing.server", description=__doc__)
    parser.add_argument("--port", type=int, default=8777)
    parser.add_argument("--latency", type=float, help="seconds that each answer takes")
    parser.add_argument("--script", type=Path, help="TOML file with the keys of a Script")
    parser.add_argument("--tokenizer", type=Path, help="folder into which to write the model's tokenizer.json")
    options = parser.parse_args()
    script = read_script(options.script) if options.script else Script()
    if options.latency is not None:
        script = dataclasses.replace(script, latency=options.latency)
    if options.tokenizer:
        save_tokenizer(options.tokenizer)
    ScriptedServer(script, port=options.port, keep=0).run()


if __name__ == "__main__":
    main()
