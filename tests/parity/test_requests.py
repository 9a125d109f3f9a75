"""lmrun asks what lm-eval asks: same contexts, continuations, generation parameters, few-shot examples and order."""

from __future__ import annotations

import pytest

from tests.parity.cases import SETTINGS, ZERO, Case, Setting
from tests.parity.compare import Comparison
from tests.parity.ours import Ours
from tests.parity.peer import Dump
from tests.parity.wide import LIMIT, compare_setting

pytestmark = pytest.mark.timeout(3600)

# What lm-eval may fail on without a fault of ours: data that the mirror lacks, and splits too small for the examples.
NO_DATA = "not in mirror"
TOO_FEW = ("Sample larger than population", "no documents available for sampling")


@pytest.mark.parametrize("setting", SETTINGS, ids=lambda s: s.label)
def test_requests_are_identical(setting: Setting, ours: Ours, request_dumps: dict[Case, Dump]) -> None:
    lines = compare_setting(ours, setting, request_dumps)
    differences = [f"{line.task}: {line.result}" for line in lines if line.result and not line.result.identical]
    assert not differences, "\n".join(differences)
    assert any(line.result for line in lines)


def test_what_lmeval_cannot_run_is_understood(request_dumps: dict[Case, Dump]) -> None:
    unexplained = {
        case.label: dump["error"]
        for case, dump in request_dumps.items()
        if "error" in dump and not any(reason in dump["error"] for reason in (NO_DATA, *TOO_FEW))
    }
    assert not unexplained


def test_too_few_examples_are_refused_on_both_sides(ours: Ours, request_dumps: dict[Case, Dump]) -> None:
    refused = [c for c, d in request_dumps.items() if any(reason in d.get("error", "") for reason in TOO_FEW)]
    accepted = []
    for case in refused:
        rows, errors = ours.preview([case.task], case.setting, LIMIT)
        # A text that is only measured shows no examples, so lmrun asks for none.
        shown = any(row["type"] != "loglikelihood_rolling" for row in rows.get(case.task, []))
        if shown and not errors:
            accepted.append(case.label)
    assert not accepted


def test_zero_shot_is_compared_wherever_there_is_data(request_dumps: dict[Case, Dump]) -> None:
    left_out = {
        case.task: dump["error"]
        for case, dump in request_dumps.items()
        if case.setting == ZERO and "error" in dump and NO_DATA not in dump["error"]
    }
    assert not left_out


def test_a_difference_would_be_seen() -> None:
    """The comparison itself: another example, another order and a missing request are each reported."""
    from tests.parity.compare import compare_requests

    theirs = [
        {"doc_id": i, "idx": 0, "type": "loglikelihood", "context": f"Q{i}", "continuation": " A", "repeats": 1}
        for i in range(3)
    ]
    same = [{**row, "generation": {}} for row in theirs]

    def compare(rows: list[dict[str, object]]) -> Comparison:
        return compare_requests("t", theirs, rows, chat=False)

    assert compare(same).identical
    assert not compare([same[1], same[0], same[2]]).identical
    assert not compare(same[:2]).identical
    assert "context: at 1" in str(compare([same[0], {**same[1], "context": "Q9"}, same[2]]))
