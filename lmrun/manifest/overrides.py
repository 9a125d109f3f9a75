"""``--set a.b=value``: one value of a manifest, changed from the command line."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from lmrun.errors import Problem, did_you_mean
from lmrun.manifest import toml
from lmrun.manifest.include import entry_name
from lmrun.manifest.secrets import is_secret
from lmrun.manifest.tree import Node, Place, unplaced

_PART = re.compile(r"""\s*(?:"([^"]*)"|'([^']*)'|([^.="'\s]+))\s*""")
_EXPECTED = "key=value, for example defaults.limit=10, models.0.dtype=float32 or tasks.*.num_fewshot=5"


def apply_override(tree: Node, text: str) -> list[Problem]:
    """Change ``tree`` as ``text`` (``path=value``) says; returns what is wrong with ``text``.

    A part of the path is a key, the position or the name of a model or task, or ``*`` for all of them. The value is
    read as TOML, and as a plain string where it is none.
    """
    dotted, equals, raw = text.partition("=")
    parts = _split(dotted)
    if not equals or not parts:
        return [Problem(f"--set {dotted}: not a change to a manifest", None, _EXPECTED)]
    value = _read_value(raw.strip())
    shown = f"{dotted}=…" if is_secret(parts[-1], value) else text
    place = Place(None, None, Path.cwd(), shown)
    if parts[0] == "include":
        return [place.problem("`include` is read from files only", hint="give the manifest to include by itself")]
    return _set(tree, parts, unplaced(value, place), place)


def _split(dotted: str) -> list[str]:
    """Parts of a dotted path, quotes as in TOML; empty when it is not one."""
    parts: list[str] = []
    at = 0
    while match := _PART.match(dotted, at):
        parts.append(next(group for group in match.groups() if group is not None))
        at = match.end()
        if at == len(dotted):
            return parts
        if dotted[at] != ".":
            return []
        at += 1
    return []


def _read_value(raw: str) -> Any:
    try:
        read = toml.loads(f"value = {raw}")
    except (toml.TOMLDecodeError, RecursionError):
        return raw
    # A line break in `raw` could smuggle in further keys; then it is text, not a value.
    return read["value"] if set(read) == {"value"} else raw


def _set(node: Node, parts: list[str], new: Node, place: Place) -> list[Problem]:
    if isinstance(node.value, list):
        targets, rest = _elements(node.value, parts)
        if not targets:
            return [_no_such_element(node.value, parts, place)]
        if not rest:
            return [
                place.problem("replaces a whole entry", expected="a key of the entry, as in models.0.dtype=float32")
            ]
        return [problem for target in targets for problem in _set(target, rest, new, place)]
    if not isinstance(node.value, dict):
        return [place.problem(f"`{parts[0]}` is looked for in a value that has no keys", expected=_EXPECTED)]
    key, rest = parts[0], parts[1:]
    if not rest:
        node.value[key] = new
        return []
    inner = node.value.setdefault(key, Node({}, place))
    return _set(inner, rest, new, place)


def _elements(entries: list[Node], parts: list[str]) -> tuple[list[Node], list[str]]:
    """The entries that the first parts speak of, and the parts left. Names may hold dots (``pythia-1.4b``)."""
    if parts[0] == "*":
        return entries, parts[1:]
    for length in range(len(parts), 0, -1):
        name = ".".join(parts[:length])
        named = [entry for entry in entries if entry_name(entry) == name]
        if named:
            return named, parts[length:]
    if parts[0].isdecimal() and int(parts[0]) < len(entries):
        return [entries[int(parts[0])]], parts[1:]
    return [], parts


def _no_such_element(entries: list[Node], parts: list[str], place: Place) -> Problem:
    names = [name for entry in entries if (name := entry_name(entry)) is not None]
    positions = f"a position from 0 to {len(entries) - 1}" if entries else "nothing: the list is empty"
    expected = f"{positions}, a name ({', '.join(names[:8])}), or *" if names else positions
    return place.problem(f"there is no entry {parts[0]!r}", expected=expected, hint=did_you_mean(parts[0], names))
