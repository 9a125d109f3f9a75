"""``/v1/files`` and ``/v1/batches`` as OpenAI describes them."""

from __future__ import annotations

import time
from email import message_from_bytes
from typing import Any

import orjson

from lmrun.testing.batches import DAY, Answer, Batch, Batches, json_lines
from lmrun.testing.generating import Engine, Refused

_CODES = {"expired": "batch_expired", "canceled": "batch_cancelled"}


class OpenAIBatches(Batches):
    """Batches that come and go as files."""

    prefix = "batch_"

    def __init__(self, engine: Engine, answer: Answer) -> None:
        super().__init__(engine, answer)
        self._files: dict[str, tuple[bytes, dict[str, Any]]] = {}

    def reply_files(self, method: str, parts: list[str], body: bytes, content_type: str) -> Any:
        """The reply to a request about files: JSON, or the bytes of a file. Raises :class:`Refused`."""
        match method, *parts:
            case "POST", "files":
                return self._upload(body, content_type)
            case "GET", "files", name, "content":
                return self._file(name)[0]
            case "GET", "files", name:
                return self._file(name)[1]
            case "DELETE", "files", name:
                self._file(name)
                del self._files[name]
                return {"id": name, "object": "file", "deleted": True}
        return None

    def reply(self, method: str, parts: list[str], body: bytes) -> Any:
        """The reply to a request about batches. Raises :class:`Refused`."""
        match method, *parts:
            case "POST", "batches":
                return self.show(self._submit(orjson.loads(body)))
            case "GET", "batches":
                return self.listed()
            case "GET", "batches", name:
                return self.show(self.poll(name))
            case "POST", "batches", name, "cancel":
                return self.show(self.cancel(name))
        return None

    def _upload(self, body: bytes, content_type: str) -> dict[str, Any]:
        form = message_from_bytes(f"Content-Type: {content_type}\r\n\r\n".encode() + body)
        fields = {part.get_param("name", header="content-disposition"): part for part in form.walk()}
        if "file" not in fields or "purpose" not in fields:
            raise Refused("'file' and 'purpose' are required.", param="file")
        content = fields["file"].get_payload(decode=True)
        name = f"file-{next(self.engine.numbers)}"
        return self._keep(name, content if isinstance(content, bytes) else b"", fields["file"].get_filename() or name)

    def _keep(self, name: str, content: bytes, filename: str) -> dict[str, Any]:
        about = {
            "id": name,
            "object": "file",
            "bytes": len(content),
            "created_at": int(time.time()),
            "filename": filename,
            "purpose": "batch" if name.startswith("file-") else "batch_output",
            "status": "processed",
        }
        self._files[name] = (content, about)
        return about

    def _file(self, name: str) -> tuple[bytes, dict[str, Any]]:
        if name not in self._files:
            raise Refused(f"No such File object: {name}", status=404, param="id")
        return self._files[name]

    def _submit(self, made: dict[str, Any]) -> Batch:
        """Checked at once rather than while ``validating``."""
        lines = [orjson.loads(line) for line in self._file(made.get("input_file_id", ""))[0].splitlines() if line]
        endpoint = made.get("endpoint")
        if not all(line.get("url") == endpoint and line.get("method") == "POST" for line in lines):
            raise Refused(f"Each line needs the method POST and the url of the batch, {endpoint}.", param="url")
        if made.get("completion_window") != "24h":
            raise Refused("Invalid value for 'completion_window': must be '24h'.", param="completion_window")
        return self.start(lines, made)

    def result(self, index: int, request: dict[str, Any], given_up: str | None) -> dict[str, Any]:
        """A line of the output file or of the error file."""
        line = {"id": f"batch_req_{index}", "custom_id": request["custom_id"], "response": None, "error": None}
        if given_up:
            line["error"] = {"code": _CODES[given_up], "message": "This request could not be executed in time."}
        else:
            status, reply = self.answer(request["url"], request["body"])
            line["response"] = {"status_code": status, "request_id": f"req_{index}", "body": reply}
        return line

    def poll(self, name: str) -> Batch:
        """The batch a little later; when it has ended, its files are there."""
        running = self.find(name).results is None
        batch = super().poll(name)
        if running and batch.results is not None:
            for kind, failed in (("output", False), ("error", True)):
                lines = [line for line in batch.results if _failed(line) == failed]
                if lines:
                    self._keep(f"{name}-{kind}", json_lines(lines), f"{name}_{kind}.jsonl")
        return batch

    def _status(self, batch: Batch) -> str:
        if batch.results is None:
            return "cancelling" if batch.canceled else "in_progress" if batch.polls else "validating"
        if batch.canceled:
            return "cancelled"
        return "expired" if self.engine.script.batch_expires else "completed"

    def show(self, batch: Batch) -> dict[str, Any]:
        """A batch as the API describes it."""
        status, results = self._status(batch), batch.results or []
        failed = sum(map(_failed, results))
        ended = int(time.time()) if batch.results is not None else None
        output, errors = f"{batch.id}-output", f"{batch.id}-error"
        return {
            "id": batch.id,
            "object": "batch",
            "endpoint": batch.made["endpoint"],
            "errors": None,
            "input_file_id": batch.made["input_file_id"],
            "completion_window": "24h",
            "status": status,
            "output_file_id": output if output in self._files else None,
            "error_file_id": errors if errors in self._files else None,
            "created_at": int(batch.created),
            "in_progress_at": int(batch.created),
            "expires_at": int(batch.created) + DAY,
            **{f"{end}_at": ended if status == end else None for end in ("completed", "expired", "cancelled")},
            "request_counts": {
                "total": len(batch.requests),
                "completed": len(results) - failed,
                "failed": failed,
            },
            "metadata": batch.made.get("metadata"),
        }


def _failed(line: dict[str, Any]) -> bool:
    return line["response"] is None or line["response"]["status_code"] != 200
