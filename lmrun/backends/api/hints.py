"""What a user can do where a server refuses a model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol
from urllib.parse import urlsplit

from lmrun.backends.api.failures import LONG_PAUSE, MALFORMED, NO_CREDIT, RATE_LIMITED, Failed
from lmrun.errors import did_you_mean

_SHOWN = 8


class Pages(Protocol):
    """What pages of a server are read with: a transport, or the post of a probe."""

    async def get(self, path: str) -> Any:
        """A page as JSON or text. Raises :class:`Failed`."""
        ...


async def served_models(server: Pages) -> list[str]:
    """Names of the models that the server lists. Raises :class:`Failed` where it does not."""
    return [str(model["id"]) for model in await listed_models(server) if "id" in model]


async def listed_models(server: Pages) -> list[Mapping[str, Any]]:
    """What the server tells of its models; empty where it is no list. Raises :class:`Failed`."""
    page = await server.get("/models")
    entries = page.get("data") if isinstance(page, Mapping) else page
    return [entry for entry in entries if isinstance(entry, Mapping)] if isinstance(entries, list) else []


def explained(
    failed: Failed, base_url: str, model: str, key_env: str, has_key: bool, models: Sequence[str]
) -> tuple[str, str]:
    """What happened, and what to do."""
    if failed.kind in ("unauthorized", "forbidden"):
        what = f"the server at {base_url} refuses the key ({failed})"
        if has_key:
            return what, f"is the key in {key_env} the right one, valid, and allowed to use {model}?"
        return f"the server at {base_url} wants a key ({failed})", (
            f'set the variable {key_env} and name it in the manifest: api_key_env = "{key_env}"'
        )
    if failed.kind == "not_found":
        return f'the server at {base_url} knows no such path or model "{model}" ({failed})', _of_not_found(
            base_url, model, models
        )
    if failed.kind == NO_CREDIT:
        return f"the account has no credit left ({failed})", "add credit, then start again: what is answered is kept"
    if failed.kind == "redirect":
        return f"{base_url}: {failed.message}", "write the address that it redirects to as base_url"
    if failed.kind == LONG_PAUSE:
        return f"{base_url}: {failed}", "start again when that time has passed: what is answered is kept"
    if failed.fatal:
        return f"{base_url} cannot be used ({failed.message})", "correct base_url"
    if failed.kind == RATE_LIMITED:
        return f"the server at {base_url} only refuses any more ({failed})", (
            "has the account a limit per day? start again later: what is answered is kept"
        )
    if failed.kind == MALFORMED:
        return f"what {base_url} answers is not of the protocol ({failed}, after {failed.attempts} tries)", (
            "does base_url lead to the API, and not to a web page? it often ends in /v1"
        )
    tries = "1 try" if failed.attempts == 1 else f"{failed.attempts} tries"
    return f"the server at {base_url} does not answer ({failed.message or failed}, after {tries})", (
        "is it running, and base_url right? start again when it is: what is answered is kept"
    )


def _of_not_found(base_url: str, model: str, models: Sequence[str]) -> str:
    if models and model not in models:
        near = did_you_mean(model, models)
        more = " …" if len(models) > _SHOWN else ""
        listed = f"the server has {', '.join(models[:_SHOWN])}{more}"
        return f"{near} {listed}" if near else listed
    if urlsplit(base_url).path in ("", "/"):
        return f"base_url usually ends in the version: {base_url}/v1"
    return (
        "does base_url end where the provider says (often /v1), and is the model's name spelled as the server has it?"
    )
