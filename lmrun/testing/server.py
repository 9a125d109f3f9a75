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
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
from aiohttp import web

from lmrun.testing import chat, completions, messages
from lmrun.testing.errors import error, refusal
from lmrun.testing.faults import edit, prompt_of, refused
from lmrun.testing.generating import Body, Engine, Refused
from lmrun.testing.message_batches import MessageBatches
from lmrun.testing.openai_batches import OpenAIBatches
from lmrun.testing.script import Script, read_script
from lmrun.testing.serving import Reply, Server
from lmrun.testing.tokens import save_tokenizer

Endpoint = Callable[[Engine, Body, frozenset[str]], Any]


class ScriptedServer(Server):
    """Answers by hash of the prompt, and does what its script says."""

    def __init__(self, script: Script | None = None, *, port: int = 0, keep: int = 1000) -> None:
        super().__init__(script or Script(), port=port, keep=keep)
        self.engine = Engine(self.script)
        self._batches = OpenAIBatches(self.engine, self._answer_in_batch)
        self._message_batches = MessageBatches(self.engine, self._answer_in_batch)
        self._endpoints: dict[tuple[str, str], Endpoint] = {
            ("POST", "/completions"): completions.answer,
            ("POST", "/chat/completions"): chat.answer,
            ("POST", "/messages"): messages.answer,
            ("POST", "/messages/count_tokens"): messages.count_tokens,
            ("POST", "/tokenize"): _tokenize,
            ("GET", "/models"): _models,
            ("GET", "/health"): lambda engine, body, kinds: {},
        }

    def save_tokenizer(self, folder: Path) -> Path:
        """Write the model's ``tokenizer.json`` into a folder; the folder."""
        return save_tokenizer(folder)

    def prompt(self, parsed: Any) -> str:
        """The text of a request, token ids decoded."""
        return prompt_of(parsed, self._decode)

    def _decode(self, ids: list[int]) -> str:
        return self.engine.tokens.decode([i for i in ids if 0 <= i < self.engine.model.size])

    async def reply(self, request: web.BaseRequest, body: bytes, kinds: frozenset[str]) -> Reply:
        """What the endpoint answers."""
        path = request.path
        if self.script.api_key and self.script.api_key not in _keys(request):
            return Reply(401, error(path, 401))
        if path == "/v1/messages" and "anthropic-version" not in request.headers:
            return Reply(400, error(path, 400, "anthropic-version: header is required"))
        try:
            return Reply(200, self._endpoint(request, body, kinds))
        except orjson.JSONDecodeError as broken:
            return Reply(400, error(path, 400, f"The body is not JSON: {broken}"))
        except Refused as reason:
            return Reply(reason.status, refusal(path, reason))

    def _endpoint(self, request: web.BaseRequest, body: bytes, kinds: frozenset[str]) -> Any:
        method, path = request.method, request.path.removeprefix("/v1")
        endpoint = self._endpoints.get((method, path))
        if endpoint:
            return endpoint(self.engine, orjson.loads(body or b"null"), kinds)
        parts = path.strip("/").split("/")
        self._message_batches.url = self.url
        reply = (
            self._message_batches.reply(method, parts, body)
            or self._batches.reply(method, parts, body)
            or self._batches.reply_files(method, parts, body, request.headers.get("Content-Type", ""))
        )
        if reply is None:
            raise Refused(f"Unknown request URL: {method} {request.path}.", status=404)
        return reply

    def _answer_in_batch(self, path: str, body: Any) -> tuple[int, Any]:
        """A request of a batch, with those faults that do not need a connection."""
        happens = self.happens("POST", path, body, orjson.dumps(body), 1)
        if "status" in happens:
            return refused(path, happens["status"])[:2]
        try:
            kinds = frozenset(happens)
            return 200, edit(self._endpoints["POST", path.removeprefix("/v1")](self.engine, body, kinds), kinds)
        except Refused as reason:
            return reason.status, refusal(path, reason)


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


def _say(url: str) -> None:
    sys.stdout.write(f"listening on {url}/v1\n")
    sys.stdout.flush()


def main() -> None:
    """Serve until interrupted."""
    parser = argparse.ArgumentParser(
        prog="python -m lmrun.testing.server", description=(__doc__ or "").partition("\n")[0]
    )
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
    ScriptedServer(script, port=options.port, keep=0).run(_say)


if __name__ == "__main__":
    main()
