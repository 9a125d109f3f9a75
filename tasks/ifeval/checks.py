"""The 25 kinds of instructions of IFEval, each with the check whether a response follows it.

The rules are those of the paper's reference program (Zhou et al. 2023), misses included: they are what scores are
compared by.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from functools import cache, lru_cache
from typing import Any

Check = Callable[..., bool]

CHECKS: dict[str, Check] = {}
"""By the id that a doc gives its instruction: the response and the instruction's arguments in, followed or not out."""

_OPTIONS = ("My answer is yes.", "My answer is no.", "My answer is maybe.")
_POSTSCRIPTS = {"P.S.": r"p\.\s?s\.", "P.P.S": r"p\.\s?p\.\s?s"}
_WORD_ENDS = frozenset(".,?!'\"")


def _check(instruction: str) -> Callable[[Check], Check]:
    def register(check: Check) -> Check:
        CHECKS[instruction] = check
        return check

    return register


def _holds(count: int, relation: str, threshold: int) -> bool:
    if relation not in ("less than", "at least"):
        raise ValueError(f"relation is {relation!r}; it is 'less than' or 'at least'")
    return count < threshold if relation == "less than" else count >= threshold


# -- words and letters -----------------------------------------------------------------------------


@_check("keywords:existence")
def _existence(response: str, *, keywords: Sequence[str]) -> bool:
    return all(re.search(keyword, response, re.IGNORECASE) for keyword in keywords)


@_check("keywords:frequency")
def _frequency(response: str, *, keyword: str, frequency: int, relation: str) -> bool:
    return _holds(len(re.findall(keyword.strip(), response, re.IGNORECASE)), relation, frequency)


@_check("keywords:forbidden_words")
def _forbidden_words(response: str, *, forbidden_words: Sequence[str]) -> bool:
    return not any(re.search(rf"\b{word}\b", response, re.IGNORECASE) for word in forbidden_words)


@_check("keywords:letter_frequency")
def _letter_frequency(response: str, *, letter: str, let_frequency: int, let_relation: str) -> bool:
    return _holds(response.lower().count(letter.strip().lower()), let_relation, let_frequency)


@_check("change_case:capital_word_frequency")
def _capital_words(response: str, *, capital_frequency: int, capital_relation: str) -> bool:
    return _holds(
        sum(word.isupper() for word in nltk_with_sentences().word_tokenize(response)),
        capital_relation,
        capital_frequency,
    )


# -- language and case -----------------------------------------------------------------------------


@_check("language:response_language")
def _language(response: str, *, language: str) -> bool:
    return _detected(response) in (language, None)


@_check("change_case:english_capital")
def _english_capital(response: str) -> bool:
    return response.isupper() and _detected(response) in ("en", None)


@_check("change_case:english_lowercase")
def _english_lowercase(response: str) -> bool:
    return response.islower() and _detected(response) in ("en", None)


# -- length ----------------------------------------------------------------------------------------


@_check("length_constraints:number_sentences")
def _number_sentences(response: str, *, num_sentences: int, relation: str) -> bool:
    return _holds(len(nltk_with_sentences().sent_tokenize(response)), relation, num_sentences)


@_check("length_constraints:number_words")
def _number_words(response: str, *, num_words: int, relation: str) -> bool:
    return _holds(len(re.findall(r"\w+", response)), relation, num_words)


@_check("length_constraints:number_paragraphs")
def _number_paragraphs(response: str, *, num_paragraphs: int) -> bool:
    paragraphs = _parts(re.split(r"\s?\*\*\*\s?", response))
    return paragraphs is not None and len(paragraphs) == num_paragraphs


@_check("length_constraints:nth_paragraph_first_word")
def _nth_paragraph_first_word(response: str, *, num_paragraphs: int, nth_paragraph: int, first_word: str) -> bool:
    paragraphs = response.split("\n\n")
    filled = sum(bool(paragraph.strip()) for paragraph in paragraphs)
    words = paragraphs[nth_paragraph - 1].split() if nth_paragraph <= filled else []
    if filled != num_paragraphs or not words:
        return False
    word = words[0].lstrip("'").lstrip('"')
    end = next((at for at, letter in enumerate(word) if letter in _WORD_ENDS), len(word))
    return word[:end].lower() == first_word.lower()


def _parts(split: Sequence[str]) -> list[str] | None:
    """The parts between dividers; the first and the last may be empty and do not count then, no other may be."""
    filled = [part for part in split if part.strip()]
    inner = split[1:-1]
    return filled if all(part.strip() for part in inner) else None


# -- content and format ----------------------------------------------------------------------------


@_check("detectable_content:number_placeholders")
def _placeholders(response: str, *, num_placeholders: int) -> bool:
    return len(re.findall(r"\[.*?\]", response)) >= num_placeholders


@_check("detectable_content:postscript")
def _postscript(response: str, *, postscript_marker: str) -> bool:
    marker = postscript_marker.strip()
    return re.search(_POSTSCRIPTS.get(marker, marker.lower()), response.lower()) is not None


@_check("detectable_format:number_bullet_lists")
def _bullets(response: str, *, num_bullets: int) -> bool:
    stars = re.findall(r"^\s*\*[^\*].*$", response, re.MULTILINE)
    dashes = re.findall(r"^\s*-.*$", response, re.MULTILINE)
    return len(stars) + len(dashes) == num_bullets


@_check("detectable_format:constrained_response")
def _constrained(response: str) -> bool:
    return any(option in response for option in _OPTIONS)


@_check("detectable_format:number_highlighted_sections")
def _highlights(response: str, *, num_highlights: int) -> bool:
    single = re.findall(r"\*[^\n\*]*\*", response)
    double = re.findall(r"\*\*[^\n\*]*\*\*", response)
    return sum(bool(found.strip("*").strip()) for found in (*single, *double)) >= num_highlights


@_check("detectable_format:multiple_sections")
def _sections(response: str, *, section_spliter: str, num_sections: int) -> bool:
    return len(re.findall(rf"\s?{section_spliter.strip()}\s?\d+\s?", response)) >= num_sections


@_check("detectable_format:json_format")
def _json(response: str) -> bool:
    text = response.strip()
    for opening in ("```json", "```Json", "```JSON", "```"):
        text = text.removeprefix(opening)
    try:
        json.loads(text.removesuffix("```").strip())
    except ValueError:
        return False
    return True


@_check("detectable_format:title")
def _title(response: str) -> bool:
    return any(title.lstrip("<").rstrip(">").strip() for title in re.findall(r"<<[^\n]+>>", response))


# -- beginning, end and marks ----------------------------------------------------------------------


@_check("combination:two_responses")
def _two_responses(response: str) -> bool:
    answers = _parts(response.split("******"))
    return answers is not None and len(answers) == 2 and answers[0].strip() != answers[1].strip()


@_check("combination:repeat_prompt")
def _repeat_prompt(response: str, *, prompt_to_repeat: str) -> bool:
    return response.strip().lower().startswith(prompt_to_repeat.strip().lower())


@_check("startend:end_checker")
def _end(response: str, *, end_phrase: str) -> bool:
    return response.strip().strip('"').lower().endswith(end_phrase.strip().lower())


@_check("startend:quotation")
def _quotation(response: str) -> bool:
    text = response.strip()
    return len(text) > 1 and text[0] == text[-1] == '"'


@_check("punctuation:no_comma")
def _no_comma(response: str) -> bool:
    return "," not in response


# -- what packages are needed for ------------------------------------------------------------------


@cache
def nltk_with_sentences() -> Any:
    """The package nltk, with its data for finding sentences."""
    import nltk

    try:
        nltk.data.find("tokenizers/punkt_tab")
    except LookupError as error:
        needed = "needs nltk's data punkt_tab, which is not installed; get it with: python -m nltk.downloader punkt_tab"
        raise RuntimeError(needed) from error
    return nltk


@cache
def _detectors() -> Any:
    from langdetect.detector_factory import PROFILES_DIRECTORY, DetectorFactory

    factory = DetectorFactory()
    factory.load_profile(PROFILES_DIRECTORY)
    factory.seed = 0  # detection draws samples: without a seed the same text may get another language
    return factory


@lru_cache(maxsize=64)  # the variants of one response, for each of its instructions
def _detected(text: str) -> str | None:
    """The language of a text (ISO 639-1); None where it has no letters to tell by."""
    from langdetect import LangDetectException

    detector = _detectors().create()
    try:
        detector.append(text)
        language: str = detector.detect()
    except LangDetectException:
        return None
    return language
