"""What has changed since a run, each kind of change on a real run."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from lmrun.engine.environment import environment
from lmrun.engine.run import Outcome
from lmrun.engine.verify import Check, verify
from lmrun.testing.scripted import ScriptedBackend
from tests.engine.conftest import World


@pytest.fixture
def done(world: World) -> Outcome:
    return world.run(world.manifest(world.stub(), tasks='[[tasks]]\nname = "colours"\nlimit = 4\n'))


def found(checks: Sequence[Check], state: str) -> set[tuple[str, str]]:
    return {(check.subject, check.what) for check in checks if check.state == state}


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def test_nothing_has_changed(world: World, done: Outcome) -> None:
    checks = verify(done.directory)
    assert {check.state for check in checks} == {"same"}
    assert found(checks, "same") >= {
        ("lmrun", "version"),
        ("package numpy", "version"),
        ("task colours", "version"),
        ("task colours", "content"),
        ("task colours", "data, split test"),
        ("task colours", "prompts"),
        ("model stub", "fingerprint"),
    }


def test_a_changed_prompt_is_told_with_its_key(world: World, done: Outcome) -> None:
    edit(world.folder / "tasks/colours.yaml", "Q: {{", "Question: {{")
    checks = verify(done.directory)
    assert found(checks, "drifted") == {("task colours", "content"), ("task colours", "prompts")}
    (content,) = (check for check in checks if check.what == "content")
    assert content.note == "differs in doc_to_text, fewshot_config"


def test_a_raised_version_is_told(world: World, done: Outcome) -> None:
    edit(world.folder / "tasks/colours.yaml", "version: 1.0", "version: 2.0")
    checks = verify(done.directory)
    (version,) = (check for check in checks if (check.subject, check.what) == ("task colours", "version"))
    assert (version.state, version.recorded, version.now) == ("drifted", "1.0", "2.0")
    assert ("task colours", "prompts") in found(checks, "same")


def test_changed_data_is_told(world: World, done: Outcome) -> None:
    edit(world.folder / "tasks/colours.jsonl", "colour 9?", "colour nine?")
    # The prompts of the first four docs are what they were.
    assert found(verify(done.directory), "drifted") == {("task colours", "data, split test")}
    edit(world.folder / "tasks/colours.jsonl", "colour 0?", "colour nought?")
    assert found(verify(done.directory), "drifted") == {
        ("task colours", "data, split test"),
        ("task colours", "prompts"),
    }


def test_a_task_that_is_gone_has_changed(world: World, done: Outcome) -> None:
    (world.folder / "tasks/colours.yaml").unlink()
    assert found(verify(done.directory), "drifted") == {("task colours", "task file")}


def test_data_that_is_not_here_cannot_be_checked(world: World, done: Outcome) -> None:
    (world.folder / "tasks/colours.jsonl").unlink()
    checks = verify(done.directory)
    assert found(checks, "drifted") == set()
    assert found(checks, "unchecked") == {("task colours", "data, split test"), ("task colours", "prompts")}


def test_a_folder_of_tasks_that_is_not_here_cannot_be_checked(world: World, done: Outcome) -> None:
    (world.folder / "tasks").rename(world.folder / "elsewhere")
    checks = verify(done.directory)
    assert found(checks, "drifted") == set()
    assert found(checks, "unchecked") == {("task colours", "all"), ("model stub", "fingerprint")}
    assert any("does not exist" in str(check.note) for check in checks)


def test_another_model_is_told_and_a_missing_one_is_not_changed(
    world: World, done: Outcome, monkeypatch: pytest.MonkeyPatch
) -> None:
    edit(done.directory.manifest, 'calls = "', 'salt = "other"\ncalls = "')
    checks = verify(done.directory)
    assert found(checks, "drifted") == {("model stub", "fingerprint")}
    assert [check.note for check in checks if check.state == "drifted"] == ["differs in salt"]

    def refuse(_backend: ScriptedBackend) -> None:
        raise OSError("no such model here")

    monkeypatch.setattr(ScriptedBackend, "identify", refuse)
    checks = verify(done.directory)
    assert (found(checks, "drifted"), found(checks, "unchecked")) == (set(), {("model stub", "fingerprint")})


def test_other_packages_are_told(done: Outcome, monkeypatch: pytest.MonkeyPatch) -> None:
    now = environment()
    changed = {**now, "lmrun": "99", "packages": {**now["packages"], "numpy": "0.1"}}
    monkeypatch.setattr("lmrun.engine.verify.environment", lambda: changed)
    assert found(verify(done.directory), "drifted") == {("lmrun", "version"), ("package numpy", "version")}


def test_without_the_lock_the_rest_is_checked(done: Outcome) -> None:
    done.directory.lock.unlink()
    checks = verify(done.directory)
    assert found(checks, "unchecked") == {("lmrun", "version")}
    assert ("task colours", "prompts") in found(checks, "same")


def test_results_record_what_was_asked(done: Outcome) -> None:
    lock = json.loads(done.directory.lock.read_text())["jobs"]["colours"]
    results = json.loads((done.directory.results / "stub.json").read_text())
    recorded = results["lmrun"]["jobs"]["colours"]
    assert {key: lock[key] for key in recorded} == recorded
    assert lock["version"] == results["versions"]["colours"] == 1.0
    assert all(recorded[key] for key in ("task_hash", "prompt_hash", "datasets"))


def test_the_command_tells_by_its_exit_code(world: World, done: Outcome) -> None:
    def lmrun(*words: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "lmrun", "verify", str(done.directory.path), *words]
        return subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)

    same = lmrun()
    assert same.returncode == 0
    assert same.stdout.endswith(" unchanged, 0 changed, 0 cannot be checked here\n")
    assert same.stdout.count("\n") == 1
    edit(world.folder / "tasks/colours.yaml", "version: 1.0", "version: 2.0")
    assert "differs in metadata" in lmrun().stdout
    listed = lmrun("--json")
    assert listed.returncode == 1
    states = {(check["subject"], check["what"]): check["state"] for check in json.loads(listed.stdout)["checks"]}
    assert states["task colours", "version"] == "drifted"
    assert states["task colours", "prompts"] == "same"


def test_metadata_of_the_manifest_is_no_change(world: World) -> None:
    table = '[[tasks]]\nname = "colours"\nmetadata = {size = 7}\n'
    checks = verify(world.run(world.manifest(world.stub(), tasks=table)).directory)
    assert {check.state for check in checks} == {"same"}
