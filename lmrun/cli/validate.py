"""``lmrun validate``: check manifests without loading a model."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lmrun.cli import options

if TYPE_CHECKING:
    from lmrun.engine.check import Check


def validate(
    manifests: Annotated[list[str] | None, typer.Argument(metavar="MANIFEST", help="Manifests to check.")] = None,
    limit: options.Limit = None,
    assignments: options.Set = None,
    mirror: options.Mirror = None,
    tasks_path: options.TasksPath = None,
    trust: options.Trust = False,
    offline: options.Offline = False,
    json: options.Json = False,
    schema: Annotated[bool, typer.Option("--schema", help="Print the JSON Schema of manifests, for editors.")] = False,
) -> None:
    """Check manifests without loading a model.

    Looks at keys, types, task names, task files, datasets, metrics and models.
    Every problem is listed at once, with file, line and column. --json prints one object per manifest, with its
    problems, warnings, models and jobs. Exit code 0 if all is well, 2 if not.
    """
    from lmrun.engine.check import check_manifest
    from lmrun.engine.inputs import Overrides
    from lmrun.errors import ExitCode
    from lmrun.manifest import json_schema

    if schema:
        _print_json(json_schema(), indent=2)
        return
    if not manifests:
        raise typer.BadParameter("name at least one manifest", param_hint="MANIFEST")
    overrides = Overrides(limit, tuple(tasks_path or ()), trust, mirror, offline, assignments=tuple(assignments or ()))
    sound = True
    for name in manifests:
        check = check_manifest(name, overrides)
        sound = sound and not check.problems
        if json:
            _print_json(_as_json(name, check))
        else:
            sys.stdout.write(_in_words(name, check))
    raise typer.Exit(ExitCode.COMPLETE if sound else ExitCode.BAD_INPUT)


def _in_words(name: str, check: Check) -> str:
    n = len(check.problems)
    lines = [*(f"warning: {warning}" for warning in check.warnings), *map(str, check.problems)]
    lines.append(f"{name}: {n} problem{'s' if n != 1 else ''}" if n else f"{name}: ok")
    return "".join(line + "\n" for line in lines)


def _as_json(name: str, check: Check) -> dict[str, Any]:
    problems = []
    for problem in check.problems:
        place = problem.location
        where = {"file": str(place.file), "line": place.line, "column": place.column} if place else {}
        words = {"message": problem.message, "expected": problem.expected, "hint": problem.hint}
        problems.append({**words, **where})
    models = [{"name": m.spec.name, "backend": m.spec.backend, "model": m.spec.model} for m in check.models]
    jobs = [{"task": j.label, "docs": j.n_docs} for j in check.jobs]
    return {"manifest": name, "problems": problems, "warnings": list(check.warnings), "models": models, "jobs": jobs}


def _print_json(value: dict[str, Any], indent: int | None = None) -> None:
    import json

    sys.stdout.write(json.dumps(value, indent=indent) + "\n")
