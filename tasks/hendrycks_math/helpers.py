r"""Answers of competition mathematics: found in a solution, brought to one form, compared.

Three rules are in use. That of the MATH paper and that of AGIEval compare texts after the same small repairs of LaTeX
(:func:`_normal`), and differ in where they look for an answer. That of Minerva has its own normal form and lets SymPy
compare, and beside it Math-Verify judges the whole answer.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lmrun.data import Docs

Doc = Mapping[str, Any]


def with_answer(docs: Docs) -> Docs:
    r"""A column ``answer``: what the solution puts in its last ``\boxed``."""
    return docs.map(lambda doc: {"answer": _boxed_answer(doc["solution"])})


def with_normal_answer(docs: Docs) -> Docs:
    """As :func:`with_answer`, in the normal form of Minerva."""
    return docs.map(lambda doc: {"answer": _minerva_form(_boxed_answer(doc["solution"]))})


def hendrycks_results(doc: Doc, results: Sequence[str]) -> dict[str, int]:
    """The answer is what stands between the first and the last dollar sign, else everything."""
    dollars = [place for place, char in enumerate(results[0]) if char == "$"]
    answer = results[0][dollars[0] + 1 : dollars[-1]] if len(dollars) > 1 else results[0]
    return {"exact_match": int(_same_text(answer, doc["answer"], _strict_form))}


def agieval_results(doc: Doc, results: Sequence[str]) -> dict[str, int]:
    """The answer of the reply and that of the data are both looked for in the way of AGIEval."""
    if doc["answer"] is None:
        return {"acc": 0}
    return {"acc": int(_same_text(_agieval_answer(results[0]), _agieval_answer(doc["answer"]), _normal))}


def minerva_results(doc: Doc, results: Sequence[str]) -> dict[str, int]:
    """``exact_match`` takes the closing sentence that the examples teach, ``math_verify`` the whole reply."""
    from math_verify import parse, verify

    answer = _minerva_form(closing_answer(results[0]))
    judged = verify(gold=parse(doc["solution"]), target=parse(results[0]))
    return {"exact_match": int(same_value(answer, doc["answer"])), "math_verify": int(bool(judged))}


# -- finding an answer -----------------------------------------------------------------------------


def braced(text: str) -> str | None:
    """What stands in the braces that ``text`` begins with; None where there are none, or they are not closed."""
    depth = 0
    for place, char in enumerate(text):
        depth += (char == "{") - (char == "}")
        if depth == 0:
            return text[1:place] if char == "}" and place else None
    return None


def _boxed_answer(solution: str) -> str:
    if r"\boxed " in solution:
        return solution.rpartition(r"\boxed ")[2].partition("$")[0]
    answer = braced(solution.rpartition(r"\boxed")[2])
    if answer is None:
        raise ValueError(f"the solution has no answer in \\boxed{{}}: {solution!r}")
    return answer


def _agieval_answer(text: str) -> str | None:
    if r"\boxed" in text:
        answer = braced(text.rpartition(r"\boxed")[2])
        return None if answer is None else _right_side(answer)
    formulas = re.findall(r"\$(.*)\$", text)
    if formulas and (answer := _right_side(formulas[-1])):
        return answer
    if "=" in text:
        # The data writes line breaks as a backslash and an n.
        return _right_side(text).rstrip(".").partition(r"\n")[0]
    numbers = re.findall(r"(?:\$)?\d+(?:\.\d+)?(?![\w\d])", text)
    return numbers[-1] if numbers else None


def _right_side(text: str) -> str:
    return text.rpartition("=")[2].lstrip(" ") if "=" in text else text


def closing_answer(text: str) -> str:
    """What the sentence "Final Answer: The final answer is ..." says, which the examples teach."""
    closing = re.search(
        r"Final Answer: The final answer is(.*?). I hope it is correct.", f"{text}I hope it is correct."
    )
    return closing.group(1).strip() if closing else "[invalidanswer]"


# -- the normal form of MATH -------------------------------------------------------------------------


def _same_text(one: str | None, other: str | None, form: Callable[[str], str]) -> bool:
    """Whether two answers have one normal form; as they are, where one of them has none."""
    if one is None or other is None:
        return one == other
    try:
        return form(one) == form(other)
    except (IndexError, ValueError):
        return one == other


def _strict_form(text: str) -> str:
    """The normal form; ``a/b`` has none unless it is a fraction of two whole numbers."""
    return _slash(_latex_form(text))


def _normal(text: str) -> str:
    """The normal form; an ``a/b`` that is no fraction of two whole numbers stays as it is."""
    text = _latex_form(text)
    try:
        return _slash(text)
    except ValueError:
        return text


_REPLACED = (
    *(("\n", ""), (r"\!", ""), ("\\\\", "\\"), ("tfrac", "frac"), ("dfrac", "frac"), (r"\left", ""), (r"\right", "")),
    *((r"^{\circ}", ""), (r"^\circ", ""), (r"\$", "")),
)


def _latex_form(text: str) -> str:
    """LaTeX with one spelling of fractions, roots and decimals, without units and spaces."""
    for before, after in _REPLACED:
        text = text.replace(before, after)
    text = _without_unit(text).replace(r"\%", "").replace(" .", " 0.").replace("{.", "{0.")
    if text.startswith("."):
        text = f"0{text}"
    name, equals, value = text.partition("=")
    if equals and "=" not in value and len(name) <= 2:
        text = value
    text = _fractions(_roots(text).replace(" ", ""))
    return r"\frac{1}{2}" if text == "0.5" else text


def _without_unit(text: str) -> str:
    number, *units = text.split(r"\text{ ")
    if len(units) > 1:
        raise ValueError("more than one unit")
    return number


def _roots(text: str) -> str:
    r"""``\sqrt3`` as ``\sqrt{3}``."""
    head, *roots = text.split(r"\sqrt")
    return r"\sqrt".join([head, *(root if root[0] == "{" else f"{{{root[0]}}}{root[1:]}" for root in roots)])


def _fractions(text: str) -> str:
    r"""``\frac12`` and ``\frac1{2}`` as ``\frac{1}{2}``."""
    head, *fractions = text.split(r"\frac")
    fixed = [head]
    for fraction in fractions:
        if fraction[0] != "{":
            if len(fraction) < 2:
                return text
            over, under, rest = fraction[0], fraction[1], fraction[2:]
            fixed.append(f"{{{over}}}{under if under == '{' else f'{{{under}}}'}{rest}")
        else:
            fixed.append(fraction)
    return r"\frac".join(fixed)


def _slash(text: str) -> str:
    r"""``1/2`` as ``\frac{1}{2}``. Raises ValueError where ``a/b`` are no whole numbers."""
    parts = text.split("/")
    if len(parts) != 2:
        return text
    over, under = map(int, parts)
    return rf"\frac{{{over}}}{{{under}}}" if text == f"{over}/{under}" else text


# -- the normal form of Minerva (Lewkowycz et al. 2022, appendix D) ----------------------------------

SUBSTITUTED = (
    *(("an ", ""), ("a ", ""), (".$", "$"), (r"\$", ""), (r"\ ", ""), (" ", ""), ("mbox", "text")),
    *((r",\text{and}", ","), (r"\text{and}", ","), (r"\text{m}", r"\text{}")),
)
_UNITS = (
    "square ways integers dollars mph inches ft hours km units".split(),
    "sue points feet minutes digits cents degrees cm gm pounds meters meals edges students".split(),
    ["childrentickets", "multiples"],
)
REMOVED = (
    *(*_UNITS[0], r"\ldots", *_UNITS[1], *_UNITS[2]),
    *(r"\text{s}", r"\text{.}", "\\text{\ns}", r"\text{}^2", r"\text{}^3", "\\text{\n}", r"\text{}", r"\mathrm{th}"),
    *(r"^\circ", r"^{\circ}", r"\;", r",\!", "{,}", '"', r"\dots"),
)
REWRITTEN = (
    (r"(.*?)(\$)(.*?)(\$)(.*)", r"$\3$"),
    (r"(\\text\{)(.*?)(\})", r"\2"),
    (r"(\\textbf\{)(.*?)(\})", r"\2"),
    (r"(\\overline\{)(.*?)(\})", r"\2"),
    (r"(\\boxed\{)(.*)(\})", r"\2"),
    (r"(frac)([^{])(.)", r"frac{\2}{\3}"),
)
_ROOTS = (
    # A root with an index, which the next rule would break.
    (r"(sqrt)(\[[^\]]*\])(\w)", r"\1\2{\3}"),
    (r"(sqrt)(?!\[)([^{])", r"sqrt{\2}"),
)


def _minerva_form(answer: str) -> str:
    """An answer without units, words and markup, in long-hand LaTeX."""
    answer = answer.rpartition("=")[2]
    # Units are taken out twice: as words while there are spaces, then wherever they stick to something.
    for unit in filter(str.isalpha, REMOVED):
        answer = re.sub(rf"(?<!\\)\b{unit}\b", "", answer)
    for before, after in SUBSTITUTED:
        answer = answer.replace(before, after)
    for removed in REMOVED:
        answer = _without_word(answer, removed) if removed.isalpha() else answer.replace(removed, "")
    for pattern, form in (*REWRITTEN, *_ROOTS):
        answer = re.sub(pattern, form, answer)
    answer = answer.replace("$", "")
    return answer.replace(",", "") if re.fullmatch(r"-?\d{1,3}(,\d{3})+", answer) else answer


def _without_word(text: str, word: str) -> str:
    r"""Take a word out, but not of the name of a LaTeX command: ``\left`` keeps its ``ft``."""
    parts = re.split(r"(\\[a-zA-Z]+)", text)
    return "".join(part if place % 2 else part.replace(word, "") for place, part in enumerate(parts))


def same_value(one: str, other: str) -> bool:
    """Whether two answers are the same text, or SymPy finds within five seconds that they differ by nothing."""
    if one and one == other:
        return True
    from math_verify.errors import TimeoutException
    from math_verify.utils import timeout
    from sympy import simplify
    from sympy.parsing.latex import parse_latex

    @timeout(timeout_seconds=5)  # type: ignore[untyped-decorator]
    def equal() -> bool:
        return bool(simplify(parse_latex(one) - parse_latex(other)) == 0)

    try:
        return bool(equal())
    except ImportError:
        raise
    except TimeoutException:  # which is no Exception
        return False
    except Exception:  # noqa: BLE001 — whatever SymPy raises at LaTeX that it cannot read
        return False
