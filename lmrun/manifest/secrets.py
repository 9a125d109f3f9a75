"""Keys and passwords have no place in a manifest: it is shared, kept in git and stored with every run."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from lmrun.errors import Problem
from lmrun.manifest.tree import Node

_SECRET_KEY = re.compile(
    r"(.*[_-])?(api[_-]?key|password|passwd|pwd|secret|authorization|credentials?)\d*"
    r"|((hf|access|auth|api|bearer|my|openai|anthropic|secret)[_-]?)?token|.*(openai|private|secret|access)[_-]?key|key"
)
# Forms in which providers hand out keys, none a plausible name of a model; and user:password@ in a URL.
_SECRET_VALUE = re.compile(
    r"sk-(?=.*\d)[\w-]{8,}|hf_[A-Za-z0-9]{16,}|(gsk|ghp|gho|r8|nvapi|pplx|xai)[_-][\w-]{16,}|github_pat_\w{16,}|AIza[\w-]{30,}"
    r"|AKIA[0-9A-Z]{16}|Bearer\s+\S+|Basic\s+\S{8,}|eyJ[\w-]{8,}\.[\w-]+\.[\w-]+"
    r"|\w+://[^/\s:@]+:[^/\s@]+@.*"
)
_ADVICE = 'api_key_env = "NAME", the name of the environment variable that holds it'


def is_secret(key: str, value: Any) -> bool:
    """Whether ``key = value`` gives away a secret, by a key or by the form of a value, at any depth."""
    if isinstance(value, dict):
        return any(is_secret(inner, member) for inner, member in value.items())
    if isinstance(value, list):
        return any(is_secret(key, member) for member in value)
    if not isinstance(value, str) or not value:
        return False
    return _SECRET_KEY.fullmatch(key.lower()) is not None or _holds_secret(value)


def _holds_secret(value: str) -> bool:
    """Whether a word of ``value`` has the form of a key."""
    return any(_SECRET_VALUE.fullmatch(word) for word in (value.strip(), *re.split(r"[\s?&=,;]+", value)))


def take_out_secrets(tree: Node) -> Iterator[Problem]:
    """Remove every secret from ``tree``; yields a problem for each, which never repeats the value."""
    for element in tree.items():
        yield from take_out_secrets(element)
    for key, node in list(tree.table().items()):
        if isinstance(node.value, dict) or any(not isinstance(element.value, str) for element in node.items()):
            yield from take_out_secrets(node)
        elif is_secret(key, node.plain()):
            del tree.table()[key]
            tree.faulty.add(key)
            message = f"`{key}` holds what looks like a secret; a manifest is kept and shared"
            hint = "if it was ever committed or sent, revoke it"
            yield node.place.problem(message, expected=_ADVICE, hint=hint, at_key=True)
