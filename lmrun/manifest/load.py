"""Reading a manifest: every step, and every problem of every step at once."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from lmrun.errors import ManifestError, Problem
from lmrun.manifest import model
from lmrun.manifest.expand import expand_models, expand_tasks
from lmrun.manifest.include import read_with_includes
from lmrun.manifest.overrides import apply_override
from lmrun.manifest.paths import resolve_paths
from lmrun.manifest.problems import validate
from lmrun.manifest.schema import ManifestFile, folder_name
from lmrun.manifest.secrets import take_out_secrets
from lmrun.manifest.tree import Node, UnreadableError


def load_manifest(
    path: Path, overrides: Sequence[str] = (), also: Callable[[model.Manifest], Iterable[Problem]] | None = None
) -> model.Manifest:
    """Read the manifest at ``path``, with ``overrides`` (``"a.b=value"``, as given to ``--set``) applied in order.

    Nothing is loaded, imported or asked on the network; names of tasks are not looked up. Where something is wrong,
    ``also`` finds what else is, in as much of the manifest as could be read.

    Raises:
        ManifestError: with everything that is wrong, in the order of the file.
    """
    try:
        tree, problems = read_with_includes(path)
    except UnreadableError as error:
        raise _error(path, [error.problem]) from error
    complete = not problems
    for text in overrides:
        problems += apply_override(tree, text)
    problems += take_out_secrets(tree)
    problems += resolve_paths(tree)
    file, found = validate(tree)
    problems += found
    manifest, found = _resolve(file, tree, path)
    problems += found
    if complete:
        problems += _empty(file, tree)
    if problems:
        raise _error(path, [*problems, *(also(manifest) if also else ())])
    return manifest


def _run(file: ManifestFile) -> model.Run:
    run = file.run
    prices = Path(run.prices) if run.prices else None
    return model.Run(Path(run.runs_dir), Path(run.cache), run.budget_usd, run.budget_tokens, prices)


def _resolve(file: ManifestFile, tree: Node, path: Path) -> tuple[model.Manifest, list[Problem]]:
    models, problems = expand_models(file.models, _entries(tree, "models"))
    tasks, found = expand_tasks(file.tasks, _entries(tree, "tasks"), file.defaults, tree.get("defaults"))
    manifest = model.Manifest(
        name=file.name or folder_name(path.stem),
        path=path.absolute(),
        models=models,
        tasks=tasks,
        defaults=model.Defaults(file.defaults.seed, file.defaults.limit),
        tasks_path=model.TasksPath(tuple(Path(each) for each in file.tasks_path.paths), file.tasks_path.trust),
        data=model.Data(Path(file.data.mirror) if file.data.mirror else None, file.data.offline),
        decontaminate=_decontaminate(file),
        run=_run(file),
    )
    return manifest, problems + found


def _decontaminate(file: ManifestFile) -> model.Decontaminate | None:
    sought = file.decontaminate
    return model.Decontaminate(tuple(sought.corpora), sought.ngram, sought.field) if sought else None


def _entries(tree: Node, key: str) -> list[Node]:
    node = tree.get(key)
    return node.items() if node else []


def _empty(file: ManifestFile, tree: Node) -> Iterable[Problem]:
    examples = {
        "models": '[[models]] with backend = "hf" and model = "bundled:demo"',
        "tasks": '[[tasks]] with name = "demo"',
    }
    for key, entries in (("models", file.models), ("tasks", file.tasks)):
        if not entries and key not in tree.faulty:
            node = tree.get(key) or tree
            yield node.place.problem(f"there are no {key}", expected=f"at least one entry, for example {examples[key]}")


def _error(path: Path, problems: Sequence[Problem]) -> ManifestError:
    ordered = sorted(dict.fromkeys(problems), key=lambda problem: _order(problem, path))
    count = "one problem" if len(ordered) == 1 else f"{len(ordered)} problems"
    return ManifestError(f"{path}: {count}", problems=tuple(ordered))


def _order(problem: Problem, path: Path) -> tuple[bool, bool, str, int, int]:
    """The manifest itself first, then what it includes, each from top to bottom; the command line last."""
    place = problem.location
    if place is None:
        return (True, True, "", 0, 0)
    return (False, place.file != path, str(place.file), place.line or 0, place.column or 0)
