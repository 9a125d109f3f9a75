"""Values that are not numbers: a doc without one is an error, and what is written is JSON for every reader."""

from __future__ import annotations

import json
from typing import Any

import pytest

from lmrun.display.report import results_json
from lmrun.errors import ExitCode
from lmrun.store.reader import RunReader
from tests.engine.conftest import World

CODE = """
def odd(doc, results):
    value = doc["answer"]
    return {"share": float("nan") if value == 0 else float("inf") if value == 1 else 1.0}
"""
TASK = """
task: odd
dataset_path: json
dataset_kwargs: {data_files: {test: colours.jsonl}}
test_split: test
output_type: generate_until
doc_to_text: "{{question}}"
doc_to_target: "{{answer}}"
process_results: !function odd.odd
metric_list: [{metric: share, aggregation: mean, higher_is_better: true}]
"""


def _refuse(constant: str) -> Any:
    raise AssertionError(f"{constant} is no JSON")


@pytest.fixture
def odd(world: World) -> World:
    (world.folder / "tasks" / "odd.py").write_text(CODE)
    (world.folder / "tasks" / "odd.yaml").write_text(TASK)
    return world


def test_a_doc_without_a_number_is_an_error_and_hides_no_other(odd: World) -> None:
    outcome = odd.run(odd.manifest(odd.stub(), tasks='[[tasks]]\nname = "odd"\n'), trust=True)
    reader = RunReader(outcome.directory)
    (job,) = reader.jobs()
    written = json.loads(results_json(reader), parse_constant=_refuse)
    reader.close()
    assert outcome.exit_code is ExitCode.INCOMPLETE
    assert (job.n_errors, job.n_scored) == (4, 6)
    assert [row["value"] for row in written["results"]] == ["inf"]
    stored = (outcome.directory.results / "stub.json").read_text()
    assert json.loads(stored, parse_constant=_refuse)["results"]["odd"]["share,none"] == "inf"
