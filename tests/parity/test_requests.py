"""lmrun asks what lm-eval asks: same contexts, continuations, generation parameters, few-shot examples and order."""

from __future__ import annotations

import pytest

from tests.parity.compare import Comparison
from tests.parity.conftest import Sample
from tests.parity.peer import NOT_IN_MIRROR
from tests.parity.wide import compare_setting

pytestmark = pytest.mark.timeout(3600)

# What lm-eval may stop at without a fault of ours. Splits that the mirror lacks or that are too small for the examples:
# lmrun refuses too.
TOO_FEW = (
    *("Sample larger than population", "no documents available for sampling", "Insufficient samples"),
    *("Invalid key: 0 is out of bounds for size 0", "number of fewshot samples requested exceeds"),
)
NO_TEXT = "Answer is not a string"
"""Examples whose answer is a list or a number, where examples are turns: lmrun shows them as text."""
NO_TOKENIZER = "No tokenizer or pretrained provided"
"""Tasks that measure their prompts in tokens, asked of a model without any."""
NOT_INSTALLED = ("No module named", "ModuleNotFoundError", "nltk_data")
"""Packages of old versions, and files that packages download when they are first used."""
EXPLAINED = (NOT_IN_MIRROR, NO_TEXT, NO_TOKENIZER, *TOO_FEW, *NOT_INSTALLED)


def test_requests_are_identical(sample: Sample) -> None:
    for setting in sample.wide.settings:
        lines = compare_setting(sample.ours, sample.wide, setting, sample.dumps)
        differences = [f"{line.task}: {line.result or line.reason}" for line in lines if line.refused or line.different]
        assert not differences, setting.label + "\n" + "\n".join(differences)
        assert any(line.good for line in lines)


def test_what_lmeval_cannot_run_is_understood(sample: Sample) -> None:
    unexplained = {
        case.label: dump["error"]
        for case, dump in sample.dumps.items()
        if "error" in dump and not any(reason in dump["error"] for reason in EXPLAINED)
    }
    assert not unexplained


def test_examples_that_are_not_there_are_refused_on_both_sides(sample: Sample) -> None:
    refused = [c for c, d in sample.dumps.items() if any(reason in d.get("error", "") for reason in TOO_FEW)]
    accepted = []
    for case in refused:
        rows, errors = sample.ours.preview([case.task], case.setting, sample.wide.limit)
        # A text that is only measured shows no examples, so lmrun asks for none.
        shown = any(row["type"] != "loglikelihood_rolling" for row in rows.get(case.task, []))
        if shown and not errors:
            accepted.append(case.label)
    assert not accepted


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
