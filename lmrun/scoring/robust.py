"""Robust filters: the answer wherever a model states it, spelt in one way. lmrun's own, beside those of lm-eval.

A filter knows the places where models put their answer, the surest first. The first place that holds an answer counts,
in it the last one; different ones there make it ambiguous. A target is read as an answer is, so that ``1,234`` equals
``$1234.00``. Text that holds no answer in any place is never right.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, TypeAlias

from lmrun.scoring.extraction import Item, Span, State, Status, elements
from lmrun.scoring.spec import FilterSpec, FilterStep, ScoringSpec

PIPELINE = "robust"
"""Name of the pipeline that ``robust = true`` adds to a task."""

Place: TypeAlias = Callable[[str], Iterator[Span]]
"""Where in a text answers may stand."""

_INTEGER = r"(?:[0-9]{1,3}(?:(?:,|\{,\}|\\,)[0-9]{3})+(?![0-9])|[0-9]+)"
_NUMBER = re.compile(
    # A dash after a word, a number or a bracket is no sign.
    rf"(?<![A-Za-z0-9_.])(?:(?<![)\]])[-−])?[$€£]?(?:{_INTEGER}(?:\.[0-9]+)?|\.[0-9]+)(?:/[0-9]+)?"
)
_BOX = re.compile(r"\\(?:boxed|fbox)\s*\{")
_HASHES = re.compile(r"####\s*([^\n]+)")
_SAYS = r"(?i:\banswer\b[^\n]{0,60}?(?:\bis\b|\bbe\b|:|=))[\s*_:]*"
_STATED = re.compile(_SAYS + r"([^\n]+)")
_SENTENCE_END = re.compile(r"[.!?]*(?:\s*[*_]+)?\s*$|[.!?](?=\s)")
_FORMULA = re.compile(r"\$\$(.+?)\$\$|\$([^$\n]+)\$|\\\((.+?)\\\)|\\\[(.+?)\\\]", re.DOTALL)
_PROSE = re.compile(r"[0-9a-z]\s+[a-z]{2}")
_LETTER = r"[(\[*_$]*(?:\\(?:text|mathrm|mathbf|textbf)\{)?\(?([A-Z])(?![A-Za-z0-9'’])"


def _boxes(text: str) -> Iterator[Span]:
    """What stands in ``\\boxed{…}``, braces within it included."""
    for match in _BOX.finditer(text):
        depth = 1
        for i in range(match.end(), len(text)):
            depth += {"{": 1, "}": -1}.get(text[i], 0)
            if depth == 0:
                yield match.end(), i
                break


def _matches(pattern: re.Pattern[str]) -> Place:
    """What the first group that took part in a match holds, or the match where there are no groups."""

    def place(text: str) -> Iterator[Span]:
        for match in pattern.finditer(text):
            yield match.span(match.lastindex or 0)

    return place


def _statements(text: str) -> Iterator[Span]:
    """The rest of each sentence that says what the answer is."""
    for match in _STATED.finditer(text):
        end = _SENTENCE_END.search(text, match.start(1), match.end(1))
        yield match.start(1), end.start() if end else match.end(1)


def _formulas(text: str) -> Iterator[Span]:
    """What is set as a formula where the answer is stated, or all that is stated, if it is no prose."""
    for start, end in _statements(text):
        match = _FORMULA.search(text, start, end)
        if match:
            yield match.span(match.lastindex or 0)
        elif not _PROSE.search(text, start, end):
            yield start, end


def _numbers_in(place: Place) -> Place:
    """The number of each text at a place: the first one, but of an equation what follows the last sign."""

    def numbers(text: str) -> Iterator[Span]:
        for start, end in place(text):
            equals = text.rfind("=", start, end) + 1 or start
            match = _NUMBER.search(text, equals, end) or _NUMBER.search(text, start, end)
            if match:
                yield match.span()

    return numbers


def _number(text: str) -> str:
    """A number without currency, separators and needless zeros; other text as it is."""
    digits = text.translate({ord(c): None for c in "$€£,{}\\ "}).replace("−", "-")
    match = re.fullmatch(r"(-?)0*([0-9]*)(?:\.([0-9]*?)0*)?", digits)
    if not match or not re.search("[0-9]", digits):
        return digits
    whole, fraction = match.group(2) or "0", match.group(3)
    value = f"{whole}.{fraction}" if fraction else whole
    return value if value == "0" else match.group(1) + value


_UNITS = re.compile(r"(?<=[^\\])\\(?:text|mbox|mathrm)\{[^{}]*\}$|\^?\{?\\circ\}?|\\?%")
_LAYOUT = re.compile(r"\\left|\\right|\\[!,;: ]|\\\$|\s|(?<=[0-9])\{,\}(?=[0-9])|^\$+|\$+$|^\\[(\[]|\\[)\]]$")
_WORDS = re.compile(r"\\(?:text|mbox|mathrm|mathbf|textbf)\{([^{}]*)\}")


def _mathematics(text: str) -> str:
    """A formula without layout, units and what stands before its equals sign; numbers as :func:`_number` has them."""
    bare = _LAYOUT.sub("", _UNITS.sub("", text.strip().strip("*_").rstrip(".")))
    bare = re.sub(r"\\[dt]frac", r"\\frac", _WORDS.sub(r"\1", bare))
    bare = re.sub(r"^(?:[A-Za-z]|[0-9+*/().-]+)=(?=[^=]+$)", "", bare)
    return _number(bare) if _NUMBER.fullmatch(bare) else bare


@dataclass(frozen=True)
class Robust:
    """What the robust filters have in common."""

    fallback: Any = "[invalid]"

    PLACES: ClassVar[Sequence[Place]] = ()

    def apply(self, state: State, doc: Mapping[str, Any]) -> State:
        """See :class:`~lmrun.scoring.filters.Filter`."""
        return [self._extract(item) for item in elements(state)]

    def target(self, target: Any) -> Any:
        """A target spelt as this filter spells answers; one that it finds nothing in stays as it is."""
        if isinstance(target, list | tuple):
            return [self.target(one) for one in target]
        if isinstance(target, bool) or not isinstance(target, str | int | float):
            return target
        found = self._read(str(target))
        return found[0] if found else target

    def spell(self, text: str) -> str:
        """One spelling for all that means the same."""
        return text.strip()

    def _extract(self, item: Item) -> Item:
        found = self._read(item.value) if isinstance(item.value, str) else None
        if found is None:
            return item.then(self.fallback, None, "no_match")
        value, span, status = found
        return item.then(value, item.part(*span), status)

    def _read(self, text: str) -> tuple[str, Span, Status] | None:
        for place in self.PLACES:
            candidates = [(value, span) for span in place(text) if (value := self.spell(text[slice(*span)]))]
            if candidates:
                value, span = candidates[-1]
                several = any(other != value for other, _ in candidates)
                return value, span, "ambiguous" if several else "matched"
        return None


@dataclass(frozen=True)
class Boxed(Robust):
    """What stands in the last ``\\boxed{…}``."""

    PLACES = (_boxes,)


@dataclass(frozen=True)
class LastNumber(Robust):
    """The number after ``####``, in a box, in "the answer is …", or else the last one: without ``$`` and ``,``."""

    PLACES = (
        _numbers_in(_matches(_HASHES)),
        _numbers_in(_boxes),
        _numbers_in(_statements),
        _matches(_NUMBER),
    )

    def spell(self, text: str) -> str:
        """See :class:`Robust`."""
        return _number(text)


@dataclass(frozen=True)
class ChoiceLetter(Robust):
    """The letter of a choice: in a box, in "the answer is …", on a line of its own, as "option …" or in brackets."""

    PLACES = (
        lambda text: ((a, b) for a, b in _boxes(text) if re.fullmatch(_LETTER + r"[)\]*_$}]*\.?", text[a:b].strip())),
        _matches(re.compile(rf"{_SAYS}{_LETTER}(?!\s+[a-z])")),
        _matches(
            re.compile(rf"^\s*{_LETTER}(?:[)\]*_$}}]*[.:]?[*_]*\s*$|[)\].:]+[*_]*\s(?!or\b|and\b))", re.MULTILINE)
        ),
        _matches(re.compile(rf"(?i:\b(?:option|choice|choose|select|pick)\b)\s*{_LETTER}")),
        _matches(re.compile(r"\(([A-Z])\)|\*\*([A-Z])\*\*")),
    )

    def spell(self, text: str) -> str:
        """See :class:`Robust`."""
        letter = re.search(r"(?<![A-Za-z\\])[A-Z](?![A-Za-z])", text)
        return letter.group() if letter else ""


@dataclass(frozen=True)
class MathAnswer(Robust):
    """The formula in a box, after ``####``, in "the answer is …", the last one, or else the last number."""

    PLACES = (
        _boxes,
        _matches(_HASHES),
        _formulas,
        _numbers_in(_statements),
        _matches(_FORMULA),
        _matches(_NUMBER),
    )

    def spell(self, text: str) -> str:
        """See :class:`Robust`."""
        return _mathematics(text)


ROBUST: Mapping[str, type[Robust]] = {
    "boxed": Boxed,
    "last_number": LastNumber,
    "choice_letter": ChoiceLetter,
    "math_answer": MathAnswer,
}


def with_robust(spec: ScoringSpec, targets: Sequence[Any]) -> ScoringSpec:
    """The scoring with a robust pipeline added, if one fits these targets of the task; else as it is."""
    forms = {_form(one) for target in targets for one in (target if isinstance(target, list) else [target])}
    form = forms.pop() if len(forms) == 1 else None
    by_text = spec.output_type == "generate_until" and not spec.has_choices and spec.process_results is None
    if form is None or not by_text or any(pipeline.name == PIPELINE for pipeline in spec.filters):
        return spec
    pipeline = FilterSpec(PIPELINE, (FilterStep(form), FilterStep("take_first")))
    return replace(spec, filters=(*spec.filters, pipeline))


def _form(target: Any) -> str | None:
    """The robust filter for answers like this target."""
    text = str(target).strip()
    if re.fullmatch(r"\(?[A-Z]\)?", text):
        return "choice_letter"
    if _BOX.search(text):
        return "math_answer"
    return "last_number" if _NUMBER.fullmatch(text) or _HASHES.search(text) else None
