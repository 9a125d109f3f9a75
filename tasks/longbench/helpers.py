"""LongBench: the score of each kind of task. The best one over all reference answers counts."""

from __future__ import annotations

import re
import string
from collections.abc import Callable, Mapping, Sequence
from difflib import SequenceMatcher
from functools import cache
from typing import Any

from lmrun.scoring import squad

Doc = Mapping[str, Any]
Results = Sequence[str]
Scores = dict[str, float]

# Full-width and other marks that Chinese texts use.
_CHINESE_PUNCTUATION = (
    "！？｡。＂＃＄％＆＇（）＊＋，－／：；＜＝＞＠［＼］＾＿｀｛｜｝～｟｠｢｣､、〃"
    "》「」『』【】〔〕〖〗〘〙〚〛〜〝〞〟〰〾〿–—‘’‛“”„‟…‧﹏."
)
_PUNCTUATION = str.maketrans("", "", string.punctuation + _CHINESE_PUNCTUATION)


def qa_f1(doc: Doc, results: Results) -> Scores:
    """F1 of the words."""
    return _best("qa_f1_score", _word_f1, results[0].strip(), doc)


def qa_f1_zh(doc: Doc, results: Results) -> Scores:
    """F1 of the words of Chinese texts."""
    return _best("qa_f1_zh_score", _chinese_f1, results[0].strip(), doc)


def rouge(doc: Doc, results: Results) -> Scores:
    """ROUGE-L."""
    return _best("rouge_score", _rouge_l, results[0].strip(), doc)


def rouge_zh(doc: Doc, results: Results) -> Scores:
    """ROUGE-L of Chinese texts."""
    return _best("rouge_zh_score", _chinese_rouge_l, results[0].strip(), doc)


def classification(doc: Doc, results: Results) -> Scores:
    """Whether the right class is named, over how many are."""

    def measure(prediction: str, answer: str) -> float:
        return _class_share(prediction, answer, doc["all_classes"])

    return _best("classification_score", measure, results[0].strip(), doc)


def count(doc: Doc, results: Results) -> Scores:
    """Share of the numbers given that are the right one."""
    return _best("count_score", _number_share, results[0].strip(), doc)


def retrieval(doc: Doc, results: Results) -> Scores:
    """Share of the numbers given that are the right paragraph's."""

    def measure(prediction: str, answer: str) -> float:
        return _number_share(prediction, re.findall(r"Paragraph (\d+)", answer)[0])

    return _best("retrieval_score", measure, results[0].strip(), doc)


def retrieval_zh(doc: Doc, results: Results) -> Scores:
    """Share of the numbers given that are the right paragraph's, in Chinese."""

    def measure(prediction: str, answer: str) -> float:
        return _number_share(prediction, re.findall(r"段落(\d+)", answer)[0])

    return _best("retrieval_zh_score", measure, results[0].strip(), doc)


def code_sim(doc: Doc, results: Results) -> Scores:
    """Likeness of the first line of code. Its indentation counts."""
    return _best("code_sim_score", _likeness, _first_code_line(results[0]), doc)


def _best(name: str, measure: Callable[[str, str], float], prediction: str, doc: Doc) -> Scores:
    value = max([0.0, *(measure(prediction, answer) for answer in doc["answers"])])
    return {"score": value, name: value}


# -- measures --------------------------------------------------------------------------------------------------------


def _word_f1(prediction: str, answer: str) -> float:
    return squad.overlap_f1(squad.normalized(prediction).split(), squad.normalized(answer).split())


def _chinese_f1(prediction: str, answer: str) -> float:
    return squad.overlap_f1(_bare_words(prediction), _bare_words(answer))


def _bare_words(text: str) -> list[str]:
    words = ("".join(word.lower().translate(_PUNCTUATION).split()) for word in _chinese_words(text))
    return [word for word in words if word]


def _number_share(prediction: str, answer: str) -> float:
    numbers = re.findall(r"\d+", prediction)
    return numbers.count(str(answer)) / len(numbers) if numbers else 0.0


def _class_share(prediction: str, answer: str, classes: Sequence[str]) -> float:
    named = [name for name in classes if name in prediction]
    # A class whose name is part of the right one's is not held against the answer. That the list changes while it is
    # gone through, so that the class after such a one is skipped, is part of the metric.
    for name in named:
        if name in answer and name != answer:
            named.remove(name)
    return 1 / len(named) if answer in named else 0.0


def _first_code_line(text: str) -> str:
    lines = (line for line in text.split("\n") if line.strip())
    return next((line for line in lines if not any(mark in line for mark in ("`", "#", "//"))), "")


def _likeness(prediction: str, answer: str) -> float:
    """In whole per cent, as fuzzywuzzy gives it without its optional C library."""
    if prediction == answer:
        return 1.0
    if not prediction or not answer:
        return 0.0
    return round(100 * SequenceMatcher(None, prediction, answer).ratio()) / 100


# -- ROUGE-L as the package rouge counts it: sets of words, sentences end at every full stop ---------------------------


def _chinese_rouge_l(prediction: str, answer: str) -> float:
    return _rouge_l(" ".join(_chinese_words(prediction)), " ".join(_chinese_words(answer)))


def _rouge_l(prediction: str, answer: str) -> float:
    given, right = _sentences(prediction), _sentences(answer)
    if not given or not right:
        return 0.0
    found = {word for sentence in right for other in given for word in _common(sentence, other)}
    precision = len(found) / len({word for sentence in given for word in sentence})
    recall = len(found) / len({word for sentence in right for word in sentence})
    return 2 * (precision * recall / (precision + recall + 1e-8))


def _sentences(text: str) -> list[list[str]]:
    # A sentence of spaces alone is one of a single empty word.
    return [sentence.split() or [""] for sentence in text.split(".") if sentence]


def _common(right: list[str], given: list[str]) -> set[str]:
    """The words of a longest common subsequence; of several the one that the package finds."""
    lengths = [[0] * (len(given) + 1)]
    for word in right:
        above, row = lengths[-1], [0]
        for j, other in enumerate(given):
            row.append(above[j] + 1 if word == other else max(above[j + 1], row[j]))
        lengths.append(row)
    words: set[str] = set()
    i, j = len(right), len(given)
    while i and j:
        if right[i - 1] == given[j - 1]:
            words.add(right[i - 1])
            i, j = i - 1, j - 1
        elif lengths[i - 1][j] > lengths[i][j - 1]:
            i -= 1
        else:
            j -= 1
    return words


def _chinese_words(text: str) -> list[str]:
    return list(_segmenter()(text))


@cache
def _segmenter() -> Callable[[str], list[str]]:
    import logging
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # its source is older than what newer Pythons warn of
        import jieba

    jieba.setLogLevel(logging.WARNING)  # else it reports on stderr how it loads its dictionary
    cut: Callable[[str], list[str]] = jieba.lcut
    return cut
