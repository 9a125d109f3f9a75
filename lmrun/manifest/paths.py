"""Relative paths in a manifest: relative to the folder of the file that they are written in."""

from __future__ import annotations

import glob
from collections.abc import Callable, Iterator
from pathlib import Path

from lmrun.errors import Problem, did_you_mean
from lmrun.manifest.backends import API, LOCAL, OWN_KEYS
from lmrun.manifest.tree import Node

BUNDLED_MODELS = ("bundled:demo",)
_YAML = (".yaml", ".yml")


def resolve_paths(tree: Node) -> Iterator[Problem]:
    """Make every path in ``tree`` absolute, in place; yields a problem for each that leads nowhere.

    ``run.runs_dir`` and ``run.cache`` stay as they are: where results go depends on where lmrun is started.
    """
    for model in _entries(tree, "models"):
        backend = model.table()["backend"].value if model.get("backend") else None
        # What `model` means to another backend is that backend's affair, unless it plainly is a file here; a server
        # knows its models by name.
        if backend not in API:
            yield from _texts(model.get("model"), _hub_or_local if backend in LOCAL else _local_if_there)
        if backend not in OWN_KEYS:
            continue
        for key in ("tokenizer", "adapter", "delta"):
            yield from _texts(model.get(key), _hub_or_local)
        yield from _texts(model.get("offload_folder"), _anywhere)
        yield from _texts(model.get("chat_template"), _template)
    for task in _entries(tree, "tasks"):
        yield from _texts(task.get("name"), _task)
    yield from _texts(tree.get("tasks_path", "paths"), _folder)
    yield from _texts(tree.get("data", "mirror"), _folder)
    yield from _texts(tree.get("decontaminate", "corpora"), _corpus)
    yield from _texts(tree.get("run", "prices"), _prices)


def _entries(tree: Node, key: str) -> list[Node]:
    node = tree.get(key)
    return node.items() if node else []


def _texts(node: Node | None, resolve: Callable[[Node, str], Problem | None]) -> Iterator[Problem]:
    """Put ``resolve`` to a text, or to each of a list of texts."""
    for each in [] if node is None else [node, *node.items()]:
        problem = resolve(each, each.value) if isinstance(each.value, str) and each.value else None
        if problem is not None:
            yield problem


def _absolute(node: Node, text: str) -> Path:
    return (node.place.folder / Path(text).expanduser()).resolve()


def _written_as_path(text: str) -> bool:
    return text.startswith(("./", "../", "/", "~/", ".\\", "..\\")) or text in (".", "..")


def _local_if_there(node: Node, text: str) -> None:
    path = _absolute(node, text)
    if path.exists():
        node.value = str(path)


def _anywhere(node: Node, text: str) -> None:
    node.value = str(_absolute(node, text))


def _hub_or_local(node: Node, text: str) -> Problem | None:
    if text.startswith("bundled:"):
        if text in BUNDLED_MODELS:
            return None
        expected = " or ".join(BUNDLED_MODELS)
        hint = did_you_mean(text, BUNDLED_MODELS)
        return node.place.problem(f"no bundled model is called `{text}`", expected=expected, hint=hint)
    _local_if_there(node, text)
    if node.value == text and _written_as_path(text) and not _absolute(node, text).exists():
        expected = 'a folder with a model, or a hub id such as "org/name"'
        return node.place.problem(
            f"there is nothing at {_absolute(node, text)}", expected=expected, hint=_near(node, text)
        )
    return None


def _template(node: Node, text: str) -> Problem | None:
    _local_if_there(node, text)
    is_path = _written_as_path(text) or text.endswith((".jinja", ".jinja2", ".j2"))
    if is_path and not _absolute(node, text).exists():
        expected = "a file with a chat template, or the name of one of the model's templates"
        return node.place.problem(
            f"there is no file {_absolute(node, text)}", expected=expected, hint=_near(node, text)
        )
    return None


def _task(node: Node, text: str) -> Problem | None:
    path = _absolute(node, text)
    is_folder = "/" in text and path.is_dir()
    if not text.endswith(_YAML) and not is_folder:
        return None
    if not is_folder and not any(mark in text for mark in "*?[") and not path.is_file():
        return node.place.problem(
            f"there is no file {path}", expected="the path of a task YAML", hint=_near(node, text)
        )
    node.value = str(path)
    return None


def _folder(node: Node, text: str) -> Problem | None:
    path = _absolute(node, text)
    if not path.is_dir():
        what = "is not a folder" if path.exists() else "does not exist"
        return node.place.problem(f"{path} {what}", expected="an existing folder", hint=_near(node, text))
    node.value = str(path)
    return None


def _corpus(node: Node, text: str) -> Problem | None:
    pattern = _absolute(node, text)
    if not glob.glob(str(pattern), recursive=True):  # noqa: PTH207 - an absolute pattern
        expected = "a file, or a pattern that some file fits"
        return node.place.problem(f"there is no file {pattern}", expected=expected, hint=_near(node, text))
    node.value = str(pattern)
    return None


def _prices(node: Node, text: str) -> Problem | None:
    path = _absolute(node, text)
    if not path.is_file():
        expected = "a TOML file with prices of models"
        return node.place.problem(f"there is no file {path}", expected=expected, hint=_near(node, text))
    node.value = str(path)
    return None


def _near(node: Node, text: str) -> str | None:
    """Where the user may have meant: relative to the current directory, or something of almost that name."""
    if Path(text).exists() and not Path(text).is_absolute():
        return f"paths are relative to the folder of this file; {Path(text).resolve()} exists"
    path = _absolute(node, text)
    return did_you_mean(path.name, (each.name for each in path.parent.iterdir())) if path.parent.is_dir() else None
