"""Tasks that are Python classes."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from lmrun.code import TaskFunctions
from lmrun.data import DataSource
from lmrun.errors import DataError, TaskError
from lmrun.functions import FunctionRef
from lmrun.requests import Message, Request
from lmrun.tasks import PromptSettings, Task, TaskCatalog, build_task
from tests.code.class_tasks import TASKS, UPSTREAM, write_mirror, write_tasks
from tests.parity.cases import SETTINGS, ZERO, Case, Setting
from tests.parity.compare import compare_requests, compare_scores
from tests.parity.ours import Ours, lmrun
from tests.parity.peer import Peer

Build = Callable[[str], Task]


@pytest.fixture(scope="module")
def mirror(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_mirror(tmp_path_factory.mktemp("mirror"))


@pytest.fixture(scope="module")
def tasks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tasks(tmp_path_factory.mktemp("class") / "tasks")


@pytest.fixture(scope="module")
def code(tasks: Path) -> TaskFunctions:
    return TaskFunctions([tasks])


@pytest.fixture
def build(mirror: Path, tasks: Path, code: TaskFunctions) -> Build:
    catalog, data = TaskCatalog([tasks]), DataSource(mirror, offline=True)
    return lambda name: build_task(catalog.resolve(name).tasks[0], data, code)


def _requests(task: Task, settings: PromptSettings) -> list[tuple[Request, ...]]:
    renderer = task.renderer(settings)
    return [renderer.render(*doc) for doc in task.eval_docs()]


def test_a_class_says_what_is_asked(build: Build) -> None:
    task = build("mixed_class")
    assert task.version == 3
    assert task.n_docs == 5
    assert [doc["id"] for _, doc in task.eval_docs()] == [0, 1, 2, 4, 5]
    first, *_ = _requests(task, PromptSettings())
    prompt = "Question: is 0 even\nAnswer:"
    assert first == (
        Request("generate_until", prompt, generation={"until": ["\n"]}),
        Request("loglikelihood", prompt, " no"),
        Request("loglikelihood", prompt, " yes"),
    )
    assert task.facts(0, task._docs[0]).target == "yes"


def test_examples_and_chat(build: Build) -> None:
    task = build("mixed_class")
    plain = _requests(task, PromptSettings(num_fewshot=2, system_instruction="Be brief."))[0][0].context
    assert isinstance(plain, str)
    assert plain.startswith("Be brief.Question: is ")
    assert plain.count("Answer: ") == 2
    settings = PromptSettings(num_fewshot=1, apply_chat_template=True, fewshot_as_multiturn=True)
    chat = _requests(task, settings)[1][1].context
    assert [message.role for message in chat if isinstance(message, Message)] == ["user", "assistant", "user"]
    assert chat[-1] == Message("user", "Question: is 1 even\nAnswer:")


def test_two_tasks_of_one_class_have_an_object_each(build: Build) -> None:
    few, more = build("mixed_class"), build("mixed_class_more")
    doc = few._docs[0]
    answers = ["four", (-1.0, False), (-2.0, True)]
    values = [task.functions.call(task.process_results, doc, answers) for task in (few, more) if task.process_results]
    assert values == [{"length": 6, "yes": 0.0, "pair": (0, 0)}, {"length": 9, "yes": 0.0, "pair": (0, 0)}]
    assert few.content_hash != more.content_hash


def test_answers_are_scored_without_the_dataset(build: Build, tasks: Path) -> None:
    task = build("mixed_class")
    assert task.process_results is not None
    stored = FunctionRef.from_json(json.loads(json.dumps(task.process_results.as_json())))
    assert stored == task.process_results
    with TaskFunctions([tasks]) as elsewhere:
        found = elsewhere.call(stored, task._docs[0], ["four", [-1.0, False], [-2.0, True]])
        assert found["length"] == 6
        length = next(m["aggregation"] for m in task.metric_list if m["metric"] == "length")
        assert elsewhere.call(length, [1, 2]) == 1.5
        with pytest.raises(TaskError, match="the class needs its dataset"):
            elsewhere.class_docs(replace(stored, member=""), pool=False)


def test_the_object_is_made_again_after_a_crash(tmp_path: Path, mirror: Path) -> None:
    folder = tmp_path / "fragile"
    folder.mkdir()
    (folder / "task.py").write_text("""
import os
from lm_eval.api.task import ConfigurableTask

class Fragile(ConfigurableTask):
    def __init__(self):
        super().__init__(config={"dataset_path": "invented/questions", "validation_split": "validation",
                                 "doc_to_text": "question", "doc_to_target": "answer"})
    def construct_requests(self, doc, ctx, **kwargs):
        return os._exit(5) if doc["id"] == 1 else super().construct_requests(doc, ctx, **kwargs)
    def process_results(self, doc, results):
        return {"acc": 1}
    def aggregation(self):
        return {"acc": sum}
    def higher_is_better(self):
        return {"acc": True}
""")
    (folder / "t.yaml").write_text("task: fragile\nclass: !function task.Fragile\n")
    with TaskFunctions([folder]) as functions:
        config = TaskCatalog([folder]).resolve("fragile").tasks[0]
        task = build_task(config, DataSource(mirror, offline=True), functions)
        renderer = task.renderer(PromptSettings())
        docs = dict(task.eval_docs())
        with pytest.raises(TaskError, match="its process ended with exit status 5"):
            renderer.render(1, docs[1])
        assert renderer.render(2, docs[2])[0].context == "is 2 even"


def test_what_a_class_lacks_is_told(mirror: Path, tasks: Path) -> None:
    config = TaskCatalog([tasks]).resolve("mixed_class").tasks[0]
    with pytest.raises(TaskError, match="is not trusted"):
        build_task(config, DataSource(mirror, offline=True), TaskFunctions())
    with TaskFunctions([tasks]) as functions, pytest.raises(DataError, match="invented/questions"):
        build_task(config, DataSource(None, offline=True), functions)


def test_a_run_of_class_tasks_and_scoring_it_again(mirror: Path, tasks: Path, tmp_path: Path) -> None:
    ours = Ours(mirror, tmp_path, tasks)
    scored = ours.score(list(TASKS), ZERO, None)
    assert set(scored.results["results"]) == set(TASKS)
    values = scored.results["results"]["mixed_class"]
    assert values["length,none"] + 3 == pytest.approx(scored.results["results"]["mixed_class_more"]["length,none"])
    assert values["yes_stderr,none"] != "N/A"
    run = max((tmp_path / "runs").iterdir())
    lmrun("score", str(run), cwd=tmp_path)
    again = json.loads((run / "results" / "model.json").read_text())
    assert again["results"] == scored.results["results"]


@pytest.fixture(scope="module")
def peer(mirror: Path) -> Peer:
    found = Peer.from_environment(mirror)
    if found is None:
        pytest.skip("set LMRUN_LMEVAL_PYTHON (a Python with lm-eval 0.4.13) to compare")
    return found


def _compare(peer: Peer, ours: Ours, cases: list[Case]) -> list[str]:
    """What differs between the cases, which are of one setting."""
    setting, limit = cases[0].setting, cases[0].limit
    names = [case.task for case in cases]
    rows, errors = ours.preview(names, setting, limit or 100)
    assert not errors, errors
    scored = ours.score(names, setting, limit)
    wrong = []
    for case, dump in peer.dumps(cases).items():
        assert "error" not in dump, (case.label, dump["error"])
        # lm-eval asks kind by kind, and in the order of the class within one.
        theirs, mine = (sorted(found[case.task], key=_by_kind) for found in (dump["requests"], rows))
        requests = compare_requests(case.task, theirs, mine, setting.chat)
        scores = compare_scores(dump, scored)
        wrong += [f"{case.label}: {what}" for what in (requests, scores) if not what.identical]
    return wrong


def _by_kind(row: dict[str, Any]) -> tuple[int, str]:
    return row["doc_id"], row["type"]


@pytest.mark.parity
@pytest.mark.parametrize("setting", SETTINGS, ids=lambda setting: setting.label)
def test_class_tasks_ask_and_score_as_in_lm_eval(peer: Peer, tasks: Path, tmp_path: Path, setting: Setting) -> None:
    cases = [Case(name, setting, 4, stderr=True, include_path=tasks) for name in TASKS]
    assert _compare(peer, Ours(peer.mirror, tmp_path, tasks), cases) == []


@pytest.mark.parity
@pytest.mark.parametrize("setting", [s for s in SETTINGS if not s.num_fewshot], ids=lambda setting: setting.label)
def test_class_tasks_of_lm_eval_itself(peer: Peer, tmp_path: Path, setting: Setting) -> None:
    cases = [Case(name, setting, 4, stderr=True) for name in UPSTREAM]
    assert _compare(peer, Ours(peer.mirror, tmp_path, peer.tasks_folder), cases) == []
