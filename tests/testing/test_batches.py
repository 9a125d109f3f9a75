"""Batches of both providers get on as they are polled."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from lmrun.testing.script import Fault, Script
from lmrun.testing.server import ScriptedServer
from tests.testing.client import ask, chat, get, message

PROMPTS = ("one", "two", "three", "four bad")
FAULTS = (Fault("status", when="bad", status=400),)


def body(prompt: str) -> dict[str, Any]:
    return {"model": "tiny", "messages": [{"role": "user", "content": prompt}], "max_tokens": 64, "temperature": 0}


def upload(server: ScriptedServer, lines: Sequence[Any]) -> str:
    content = "\n".join(json.dumps(line) for line in lines)
    parts = [
        '--edge\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nbatch\r\n',
        '--edge\r\nContent-Disposition: form-data; name="file"; filename="in.jsonl"\r\n',
        f"Content-Type: application/octet-stream\r\n\r\n{content}\r\n--edge--\r\n",
    ]
    headers = {"Content-Type": "multipart/form-data; boundary=edge"}
    reply = ask(server, "/v1/files", "".join(parts).encode(), headers=headers).json
    assert get(server, f"/v1/files/{reply['id']}/content").data.decode() == content
    assert get(server, f"/v1/files/{reply['id']}").json == reply
    return str(reply["id"])


def submit(server: ScriptedServer) -> str:
    url = "/v1/chat/completions"
    lines = [{"custom_id": p.split()[0], "method": "POST", "url": url, "body": body(p)} for p in PROMPTS]
    made = {"input_file_id": upload(server, lines), "endpoint": url, "completion_window": "24h", "metadata": {"a": "b"}}
    batch = ask(server, "/v1/batches", made).json
    assert (batch["status"], batch["metadata"]) == ("validating", {"a": "b"})
    return str(batch["id"])


def lines(server: ScriptedServer, file: str) -> dict[str, Any]:
    data = get(server, f"/v1/files/{file}/content").data
    return {line["custom_id"]: line for line in map(json.loads, data.splitlines())}


def test_a_batch_of_openai() -> None:
    with ScriptedServer(Script(faults=FAULTS, batch_polls=2)) as server:
        name = submit(server)
        polls = [get(server, f"/v1/batches/{name}").json for _ in range(3)]
        assert [poll["status"] for poll in polls] == ["in_progress", "in_progress", "completed"]
        assert polls[0]["output_file_id"] is None
        done = polls[-1]
        assert done["request_counts"] == {"total": 4, "completed": 3, "failed": 1}
        answers, failed = lines(server, done["output_file_id"]), lines(server, done["error_file_id"])
        assert list(answers) == ["three", "two", "one"]
        assert list(failed) == ["four"]
        assert failed["four"]["response"]["status_code"] == 400
        assert answers["one"]["response"]["body"]["choices"] == chat(server, "one", max_tokens=64)["choices"]
        assert get(server, "/v1/batches?limit=5").json["data"] == [done]
        assert ask(server, f"/v1/files/{done['output_file_id']}", method="DELETE").json["deleted"]
        assert get(server, f"/v1/files/{done['output_file_id']}").status == 404


def test_batches_can_expire_and_be_canceled() -> None:
    with ScriptedServer(Script(batch_polls=0, batch_expires=True)) as server:
        done = get(server, f"/v1/batches/{submit(server)}").json
        assert done["status"] == "expired"
        assert {line["error"]["code"] for line in lines(server, done["error_file_id"]).values()} == {"batch_expired"}
    with ScriptedServer() as server:
        name = submit(server)
        assert ask(server, f"/v1/batches/{name}/cancel").json["status"] == "cancelling"
        done = get(server, f"/v1/batches/{name}").json
        assert (done["status"], done["output_file_id"]) == ("cancelled", None)


def test_batches_that_cannot_be_are_refused() -> None:
    with ScriptedServer() as server:
        file = upload(server, [{"custom_id": "a", "method": "POST", "url": "/v1/completions", "body": {}}])
        made = {"input_file_id": file, "completion_window": "24h"}
        assert ask(server, "/v1/batches", {**made, "endpoint": "/v1/chat/completions"}).status == 400
        assert ask(server, "/v1/batches", {**made, "input_file_id": "none", "endpoint": "/v1/x"}).status == 404
        assert get(server, "/v1/batches/none").status == 404
        twice = [{"custom_id": "a", "params": body("x")}] * 2
        assert ask(server, "/v1/messages/batches", {"requests": twice}).json["error"]["type"] == "invalid_request_error"


def test_a_batch_of_messages() -> None:
    requests = [{"custom_id": p.split()[0], "params": body(p)} for p in PROMPTS]
    with ScriptedServer(Script(faults=FAULTS, batch_polls=1)) as server:
        batch = ask(server, "/v1/messages/batches", {"requests": requests}).json
        assert (batch["type"], batch["processing_status"]) == ("message_batch", "in_progress")
        address = f"/v1/messages/batches/{batch['id']}"
        assert get(server, address).json["results_url"] is None
        assert get(server, f"{address}/results").status == 404
        done = get(server, address).json
        assert done["processing_status"] == "ended"
        assert done["request_counts"] == {"processing": 0, "succeeded": 3, "errored": 1, "canceled": 0, "expired": 0}
        assert done["results_url"] == f"{server.url}{address}/results"
        data = get(server, f"{address}/results").data
        results = {line["custom_id"]: line["result"] for line in map(json.loads, data.splitlines())}
        assert list(results) == ["four", "three", "two", "one"]
        assert results["one"]["message"]["content"] == message(server, "one").json["content"]
        assert results["four"]["error"]["error"]["type"] == "invalid_request_error"


def test_polls_can_fail() -> None:
    with ScriptedServer(Script(faults=[Fault("status", path="/batches/", status=503, tries=1)])) as server:
        name = submit(server)
        assert [get(server, f"/v1/batches/{name}").status for _ in range(2)] == [503, 200]
