r"""MATH as the Open LLM Leaderboard scored it, by rules that have since been mended elsewhere.

They stay as they were, so that scores can be compared with the leaderboard's.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ...hendrycks_math.helpers import REMOVED, REWRITTEN, SUBSTITUTED, braced, closing_answer, same_value

if TYPE_CHECKING:
    from lmrun.data import Docs

_NO_ANSWER = "[invalidanswer]"


def process_docs(docs: Docs) -> Docs:
    r"""The docs of the highest level, with a column ``answer``: what the solution puts in its last ``\boxed``."""
    hardest = docs.filter(lambda doc: bool(doc["level"] == "Level 5"))
    return hardest.map(lambda doc: {"answer": _boxed_answer(doc["solution"])})


def process_results(doc: Mapping[str, Any], results: Sequence[str]) -> dict[str, int]:
    """``exact_match`` judges the whole reply by Math-Verify, ``exact_match_original`` its closing sentence."""
    from math_verify import LatexExtractionConfig, parse, verify

    (reply,) = results
    gold = parse(doc["solution"], extraction_config=[LatexExtractionConfig()])
    return {
        "exact_match": int(bool(verify(gold, parse(reply)))),
        "exact_match_original": int(_same_answer(_form(closing_answer(reply)), _form(doc["answer"]))),
    }


def _same_answer(one: str, other: str) -> bool:
    if one == _NO_ANSWER:
        return False
    return one.strip() == other.strip() or same_value(one, other)


def _boxed_answer(solution: str) -> str:
    if r"\boxed " in solution:
        return solution.rpartition(r"\boxed ")[2].partition("$")[0]
    answer = braced(solution.rpartition(r"\boxed")[2]) if r"\boxed" in solution else None
    return _NO_ANSWER if answer is None else answer


def _form(answer: str) -> str:
    """An answer without units, words and markup, in long-hand LaTeX."""
    answer = answer.rpartition("=")[2]
    for before, after in (*SUBSTITUTED, *((removed, "") for removed in REMOVED)):
        answer = answer.replace(before, after)
    for pattern, form in (*REWRITTEN, (r"(sqrt)([^{])", r"sqrt{\2}")):
        answer = re.sub(pattern, form, answer)
    answer = answer.replace("$", "")
    return answer.replace(",", "") if answer.replace(",", "").isdigit() else answer
