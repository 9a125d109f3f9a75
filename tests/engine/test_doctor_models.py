"""``lmrun doctor MANIFEST``: what servers can do, and whether it is enough for the tasks."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from lmrun.engine.doctor_models import ModelReport, examine_models
from lmrun.engine.inputs import Overrides
from lmrun.testing.script import Fault, Script
from lmrun.testing.server import ScriptedServer
from tests.cli.test_commands import lmrun
from tests.engine.conftest import World

Examine = Callable[..., ModelReport]


def table(backend: str, base_url: str, model: str = "tiny") -> str:
    return f'name = "{backend}"\nbackend = "{backend}"\nmodel = "{model}"\nbase_url = "{base_url}"'


def examined(world: World, *models: str) -> list[ModelReport]:
    return list(examine_models(str(world.manifest(*models)), Overrides()))


def states(report: ModelReport) -> dict[str, str]:
    return {c.name: c.state for c in report.capabilities}


def test_a_server_that_can(world: World) -> None:
    with ScriptedServer() as server:
        (report,) = examined(world, table("openai-completions", server.base_url))
    assert report.fit
    assert states(report)["task colours"] == "yes"


def test_a_server_whose_log_probabilities_are_shifted(world: World) -> None:
    script = Script(faults=[Fault("shifted_logprobs")], ignores=["prompt_logprobs"], refuses={"logprobs": ""})
    with ScriptedServer(script) as server:
        (report,) = examined(world, table("openai-completions", server.base_url))
    assert not report.fit
    task = report.capabilities[-1]
    assert (task.name, task.state) == ("task colours", "no")
    assert "generative variant" in task.advice


def test_a_server_that_cannot_what_no_task_needs_is_fit(world: World) -> None:
    with ScriptedServer(Script(ignores=["echo"])) as server:
        model = table("openai-completions", server.base_url)
        unsure, sure = (examined(world, model + scoring)[0] for scoring in ("", '\nscoring = "next_token"'))
    assert states(unsure)["echo with logprobs"] == "no"
    assert not unsure.fit  # a choice that is a word may be several tokens
    assert sure.fit


def test_each_model_has_its_report(world: World) -> None:
    with ScriptedServer(Script(model="tiny-2")) as server:
        reports = examined(
            world, world.stub(), table("openai-chat", server.base_url), table("anthropic", "http://127.0.0.1:9/v1")
        )
    assert [report.fit for report in reports] == [True, False, False]
    found = {c.name: c for c in reports[1].capabilities}
    assert found["models"].advice == "did you mean 'tiny-2'?"
    assert states(reports[2])["address"] == "no"


def test_a_model_of_transformers_is_not_loaded(world: World) -> None:
    (report,) = examined(world, 'backend = "hf"\nmodel = "bundled:demo"')
    assert states(report) == {"identity": "yes", "dtype": "yes", "context length": "yes", "chat template": "yes"}


def test_the_command(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_KEY", "sk-very-secret")
    with ScriptedServer(Script(api_key="sk-very-secret", refuses={"max_tokens": "max_completion_tokens"})) as server:
        model = table("openai-chat", server.base_url) + '\napi_key_env = "MY_KEY"'
        manifest = str(world.manifest(model))
        shown = lmrun(world.folder, "doctor", manifest)
        told = lmrun(world.folder, "doctor", manifest, "--json")
    assert shown.returncode == 0, shown.stderr
    assert "✓  key" in shown.stdout
    assert "max_tokens → max_completion_tokens" in shown.stdout
    assert "sk-very-secret" not in shown.stdout + shown.stderr + told.stdout
    report = json.loads(told.stdout)
    assert (report["name"], report["fit"]) == ("openai-chat", True)


def test_the_command_ends_with_1_where_a_model_cannot(world: World) -> None:
    with ScriptedServer(Script(ignores=["logprobs", "top_logprobs"])) as server:
        done = lmrun(world.folder, "doctor", str(world.manifest(table("openai-chat", server.base_url))))
    assert done.returncode == 1
    assert "✗  task colours" in done.stdout
