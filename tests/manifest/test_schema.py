"""The JSON Schema, the reference page and the starter manifest, all from the models that check."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from lmrun.manifest import json_schema, load_manifest, toml
from lmrun.manifest.backends import API, OWN, backend_names
from lmrun.manifest.reference import reference_markdown
from lmrun.manifest.scaffold import scaffold
from lmrun.manifest.schema import SECTIONS, folder_name

from .conftest import GOOD, Write
from .test_load import CONTRACT

ROOT = Path(__file__).parents[2]


def _mistakes(text: str) -> list[str]:
    validator = jsonschema.Draft202012Validator(json_schema())
    return [error.message for error in validator.iter_errors(toml.loads(text))]


def _example() -> str:
    return reference_markdown().partition("```toml\n")[2].partition("```")[0]


def test_the_schema_is_valid() -> None:
    jsonschema.Draft202012Validator.check_schema(json_schema())


@pytest.mark.parametrize("text", [GOOD, CONTRACT, scaffold(), _example(), GOOD + "limit = [0.5, 3]\n"])
def test_the_schema_accepts_what_loads(text: str) -> None:
    assert _mistakes(text) == []


@pytest.mark.parametrize("file", sorted((ROOT / "configs").glob("*.toml")), ids=lambda file: file.name)
def test_the_schema_accepts_the_bundled_manifests(file: Path) -> None:
    assert _mistakes(file.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    "addition",
    [
        "nums = 1",
        "num_fewshot = -1",
        "num_fewshot = []",
        "num_fewshot = [0, 'x']",
        "limit = 0",
        "limit = 1.5",
        "limit = '1'",
    ],
)
def test_the_schema_refuses_what_does_not_load(addition: str) -> None:
    assert _mistakes(GOOD + addition)


@pytest.mark.parametrize(
    "entry", ['backend = "hf"\noptions = {}', 'backend = "scripted"\ndtype = "auto"', "dtype = 'auto'"]
)
def test_the_schema_knows_the_keys_of_each_backend(entry: str) -> None:
    assert _mistakes(f'[[models]]\nmodel = "x"\n{entry}')


def test_every_key_and_table_is_described() -> None:
    schema = json_schema()
    defined = {name: table for name, table in schema["$defs"].items() if table.get("type") == "object"}
    tables: dict[str, Any] = {"": schema, **defined}
    missing = [
        f"{name}.{key}"
        for name, table in tables.items()
        for key, field in table["properties"].items()
        if not field.get("description") and "$ref" not in field
    ]
    assert missing == []
    assert all(table.get("description") for table in tables.values())


def test_the_schema_says_nothing_that_toml_cannot() -> None:
    assert "null" not in str(json_schema())


def test_the_reference_page_is_up_to_date() -> None:
    page = (ROOT / "docs" / "manifest.md").read_text(encoding="utf-8")
    assert page == reference_markdown(), "run: python -m lmrun.manifest.reference > docs/manifest.md"


def test_the_reference_page_has_every_key() -> None:
    page = reference_markdown()
    for section in SECTIONS.values():
        assert all(f"| `{key}` |" in page for key in section.model_fields)


def test_the_example_of_the_reference_page_loads(write: Write) -> None:
    write("", "common.toml")
    manifest = load_manifest(write(_example()))
    assert (len(manifest.models), len(manifest.tasks)) == (2, 3)


@pytest.mark.parametrize(
    ("name", "model", "backend", "tasks"),
    [
        ("first", "bundled:demo", "hf", ["demo"]),
        ("x-1", 'odd "name" \\ # \x7f', "scripted", ["a", "b*", 'c"d']),
        ("my first (1)", "org/größe", "hf", ["demo"]),
        ("chat", "gpt", "openai-chat", ["demo"]),
    ],
)
def test_the_starter_manifest_loads(write: Write, name: str, model: str, backend: str, tasks: list[str]) -> None:
    manifest = load_manifest(write(scaffold(name, model, backend, tasks)))
    assert manifest.name == folder_name(name)
    assert (manifest.models[0].model, manifest.models[0].backend) == (model, backend)
    assert [task.name for task in manifest.tasks] == tasks


@pytest.mark.parametrize("backend", ["hf", *API])
def test_what_the_starter_manifest_comments_out_can_be_uncommented(write: Write, tmp_path: Path, backend: str) -> None:
    (tmp_path / "my_tasks").mkdir()
    (tmp_path / "mirror").mkdir()
    lines = scaffold(backend=backend).split("\n")
    keys = [line.removeprefix("# ") if " = " in line or line.startswith("# [") else line for line in lines]
    manifest = load_manifest(write("\n".join(keys)))
    assert manifest.data.offline
    assert len(manifest.tasks) == 2


def test_our_own_backends_are_known_without_an_installation() -> None:
    project = toml.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert set(OWN) == set(project["entry-points"]["lmrun.backends"])
    assert set(OWN) <= set(backend_names())


def test_a_plug_in_is_found_by_its_entry_point_and_not_imported(
    tmp_path: Path, write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    distribution = tmp_path / "site" / "other-1.0.dist-info"
    distribution.mkdir(parents=True)
    (distribution / "METADATA").write_text("Metadata-Version: 2.1\nName: other\nVersion: 1.0\n")
    (distribution / "entry_points.txt").write_text("[lmrun.backends]\nother = not_there:Backend\n")
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    text = '[[models]]\nbackend = "other"\nmodel = "x"\noptions = { a = 1 }\n[[tasks]]\nname = "demo"\n'
    assert load_manifest(write(text)).models[0].backend == "other"


def test_importing_and_loading_needs_nothing_heavy(write: Write) -> None:
    file = write(GOOD)
    code = (
        "import sys, pathlib, lmrun.manifest\n"
        f"lmrun.manifest.load_manifest(pathlib.Path({str(file)!r}))\n"
        "heavy = {'torch', 'datasets', 'transformers', 'rich', 'typer', 'numpy', 'yaml', 'tomlkit', 'lmrun.backends'}\n"
        "print(sorted(heavy & set(sys.modules)))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.strip() == "[]"
