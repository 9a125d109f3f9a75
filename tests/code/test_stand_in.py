"""What code imports from lm-eval, where lm-eval is not installed."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from lmrun.code import TaskFunctions
from lmrun.errors import TaskError
from lmrun.functions import FunctionRef

Write = Callable[..., FunctionRef]


def test_helpers(functions: TaskFunctions, write: Write) -> None:
    ref = write("""
        from lm_eval.api.metrics import bits_per_byte, mean, median, metric_max_over_ground_truths, perplexity
        from lm_eval.utils import apply_template, eval_logger, general_detokenize, weighted_f1_score
        from lm_eval.utils import handle_non_serializable

        def f():
            eval_logger.warning("heard")
            return [
                general_detokenize('it does n\\'t ( end ) " so " , it says .'),
                weighted_f1_score([(0, 0), (1, 0), (1, 1)]),
                metric_max_over_ground_truths(lambda a, b: len(a) - len(b), "abc", ["ab", "a"]),
                mean([1, 2, 6]), median([3, 1, 2]), perplexity([0.0, 0.0]), bits_per_byte([(-1, 2)]) > 0,
                apply_template("{{ a }}!", {"a": 1}), handle_non_serializable({1}),
            ]
    """)
    found = functions.call(ref)
    assert found[0] == 'it doesn\'t (end)"so", it says.'
    assert found[1] == pytest.approx(2 / 3)
    assert found[2:] == [2, 3, 2, 1.0, True, "1!", [1]]


def test_filters(functions: TaskFunctions, write: Write) -> None:
    folder = write("""
        from lm_eval.api.filter import Filter
        from lm_eval.api.registry import get_filter, register_filter
        from lm_eval.filters import extraction
        from lm_eval.filters.extraction import MultiChoiceRegexFilter, RegexFilter, WhitespaceFilter

        made = 0

        class Lazy(Filter):
            def __init__(self, suffix="!"):
                global made
                made += 1
                self.suffix = suffix

            def apply(self, resps, docs):
                return map(lambda answers: [answer + self.suffix for answer in answers], resps)

        @register_filter("shout")
        class Shout(RegexFilter):
            def apply(self, resps, docs):
                return [[self.regex.sub(str.upper(doc["to"]), a) for a in answers] for answers, doc in zip(resps, docs)]

        def strip(resps, docs):
            return ([answer.strip() for answer in answers] for answers in resps)

        class Custom(Filter):
            def __init__(self, filter_fn):
                self.apply = filter_fn

        def count():
            return made
    """).folder
    answers, docs = [["a 1", "b"], ["#### 7 "]], [{"to": "x", "choices": ["p"]}, {"to": "y", "choices": ["q"]}]

    def apply(function: str, **kwargs: object) -> object:
        return functions.apply_filter(FunctionRef(f"utils.{function}", folder), kwargs, answers, docs)

    assert not functions.has_filter("shout")
    assert apply("RegexFilter") == [["[invalid]", "[invalid]"], ["7"]]
    assert apply("RegexFilter", regex_pattern="([a-z])", group_select=-1, fallback="-") == [["a", "b"], ["-"]]
    assert apply("WhitespaceFilter") == [["a 1", "b"], ["#### 7"]]
    assert apply("MultiChoiceRegexFilter", regex_pattern="([a-z])") == [["a", "b"], ["[invalid]"]]
    for _ in range(3):
        assert apply("Lazy", suffix="?") == [["a 1?", "b?"], ["#### 7 ?"]]
    assert functions.call(FunctionRef("utils.count", folder)) == 1
    assert apply("Custom", filter_fn=FunctionRef("utils.strip", folder)) == [["a 1", "b"], ["#### 7"]]
    assert functions.has_filter("shout")
    assert functions.apply_filter("shout", {"regex_pattern": "[0-9]"}, answers, docs) == [["a X", "b"], ["#### Y "]]
    with pytest.raises(TaskError, match="crash"):
        functions.apply_filter("crash", {}, answers, docs)


def test_a_registered_filter_survives_a_crash(functions: TaskFunctions, write: Write) -> None:
    ref = write("""
        import os
        from lm_eval.api.registry import register_filter
        from lm_eval.filters.extraction import Filter

        @register_filter("fragile")
        class Fragile(Filter):
            def apply(self, resps, docs):
                if docs[0]["crash"]:
                    os._exit(9)
                return resps
    """)
    functions.check(FunctionRef("utils.Fragile", ref.folder))
    with pytest.raises(TaskError, match="filter 'fragile': its process ended with exit status 9"):
        functions.apply_filter("fragile", {}, [["a"]], [{"crash": True}])
    assert functions.apply_filter("fragile", {}, [["a"]], [{"crash": False}]) == [["a"]]
