"""Requests of a doc as a person or a program reads them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence

from lmrun.requests import Request, context_as_json


def request_lines(task: str, doc_id: int, requests: Sequence[Request]) -> Iterator[str]:
    """One JSON object per request; repeats count as requests of their own."""
    for index, request in enumerate(requests):
        yield json.dumps(
            {
                "task": task,
                "doc_id": doc_id,
                "request_index": index,
                "type": request.kind,
                "context": context_as_json(request.context),
                "continuation": request.continuation,
                "generation": dict(request.generation),
            },
            ensure_ascii=False,
        )


def request_text(task: str, doc_id: int, requests: Sequence[Request]) -> str:
    """A doc's prompt once, and below it everything that is asked with it. ``¶`` marks where a prompt ends."""
    if not requests:
        return f"━━ {task} · doc {doc_id} · nothing to ask: the doc has no choices\n\n"
    lines = [f"━━ {task} · doc {doc_id} · {requests[0].kind} × {len(requests)}"]
    shown: object = None
    for request in requests:
        if request.context != shown:
            shown = request.context
            if isinstance(request.context, str):
                lines.append(request.context + "¶")
            else:
                lines.extend(f"<{message.role}> {message.content}" for message in request.context)
        if request.kind == "generate_until":
            lines.append("  generate: " + json.dumps(dict(request.generation), ensure_ascii=False))
        else:
            lines.append("  score: " + json.dumps(request.continuation, ensure_ascii=False))
    return "\n".join(lines) + "\n\n"
