"""What goes in and comes out of the code of tasks."""

from __future__ import annotations

import datetime
import decimal
import math
import pickle
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lmrun.code import TaskFunctions
from lmrun.code.plain import NotPlainError, dump, load, plain
from lmrun.errors import TaskError
from lmrun.functions import FunctionRef

Write = Callable[..., FunctionRef]

TEXTS = st.text(st.characters(), max_size=20)  # lone surrogates as well
ATOMS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | TEXTS | st.binary(max_size=20)
DATES = st.datetimes() | st.dates() | st.timedeltas() | st.decimals(allow_nan=False)
HASHABLE = ATOMS | st.tuples(ATOMS, ATOMS)
VALUES = st.recursive(
    ATOMS | DATES,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.tuples(inner, inner)
        | st.dictionaries(HASHABLE, inner, max_size=4)
        | st.sets(HASHABLE, max_size=4)
    ),
    max_leaves=12,
)


@given(VALUES)
def test_plain_values_cross_unchanged(value: Any) -> None:
    found = load(dump(plain(value)))
    assert found == value
    assert type(found) is type(value)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=50)
@given(value=VALUES)
def test_a_function_gets_and_gives_what_it_is_given(functions: TaskFunctions, write: Write, value: Any) -> None:
    if not (ref := FunctionRef("same.f", write("").folder)).folder.joinpath("same.py").exists():
        write("def f(*args, **kwargs):\n    return args, kwargs\n", module="same")
    assert functions.call(ref, value, named=value) == ((value,), {"named": value})


def test_values_of_numpy_become_python(functions: TaskFunctions, write: Write) -> None:
    ref = write("""
        import collections, enum
        import numpy as np

        Pair = collections.namedtuple("Pair", "a b")

        class Name(str, enum.Enum):
            A = "a"

        def f():
            return {
                "float": np.float64(0.5), "half": np.float16(0.5), "int": np.int64(3), "bool": np.bool_(True),
                "text": np.str_("x"), "array": np.array([[1, 2]]), "nan": np.float32("nan"), "pair": Pair(1, 2),
                "counter": collections.Counter("aab"), "default": collections.defaultdict(list, x=[1]),
                "lazy": map(str, [1, 2]), "range": range(3), "keys": {"k": 1}.keys(), "values": {"k": 1}.values(),
                "enum": Name.A, "ordered": collections.OrderedDict(b=1, a=2), "frozen": frozenset({1}),
            }
    """)
    found = functions.call(ref)
    assert math.isnan(found.pop("nan"))
    expected = {
        "float": 0.5,
        "half": 0.5,
        "int": 3,
        "bool": True,
        "text": "x",
        "array": [[1, 2]],
        "pair": (1, 2),
        "counter": {"a": 2, "b": 1},
        "default": {"x": [1]},
        "lazy": ["1", "2"],
        "range": [0, 1, 2],
        "keys": ["k"],
        "values": [1],
        "enum": "a",
        "ordered": {"b": 1, "a": 2},
        "frozen": {1},
    }
    assert found == expected
    assert {name: type(value) for name, value in found.items()} == {n: type(v) for n, v in expected.items()}


@pytest.mark.parametrize("made", ["object()", "lambda: 1", "Own()", "[{'deep': (Own(),)}]", "int", "type(open)"])
def test_what_only_the_code_understands_is_refused(functions: TaskFunctions, write: Write, made: str) -> None:
    ref = write(f"class Own: pass\ndef f():\n    return {made}\n")
    with pytest.raises(TaskError, match="is not text, a number, a list or a dict"):
        functions.call(ref)


def test_reading_an_answer_runs_nothing() -> None:
    class Hostile:
        def __reduce__(self) -> Any:
            return print, ("ran",)

    for value in (Hostile(), math.sqrt, decimal.Context):
        if value is not decimal.Context:
            with pytest.raises(pickle.UnpicklingError):
                load(pickle.dumps(value))
        with pytest.raises(NotPlainError):
            plain(value)
    assert load(dump(plain([decimal.Decimal("1.5"), datetime.date(2020, 1, 2)]))) == [
        decimal.Decimal("1.5"),
        datetime.date(2020, 1, 2),
    ]


def test_an_error_names_the_function_the_error_and_its_line(functions: TaskFunctions, write: Write) -> None:
    ref = write(
        """
        import json

        def inner(doc):
            return json.loads(doc["x"])

        def process_results(doc, results):
            return inner(doc)
    """,
        "process_results",
    )
    with pytest.raises(TaskError) as caught:
        functions.call(ref, {}, [])
    assert str(caught.value) == "!function utils.process_results: KeyError: 'x' (utils.py:5)"
    assert caught.value.problems[0].location == ref.location
    with pytest.raises(TaskError, match=r"JSONDecodeError: Expecting property.* \(utils.py:5\)"):
        functions.call(ref, {"x": "{"}, [])


@pytest.mark.parametrize(
    ("code", "message", "hint"),
    [
        ("def g(): pass", "AttributeError: module .* has no attribute 'f'", None),
        ("def f(:", r"SyntaxError: .* \(utils.py:1\)", None),
        ("import no_such_package.deep", r"needs the package 'no_such_package'.* \(utils.py:1\)", "pip install"),
        ("import sacrebleu.no_such_module", "the installed 'sacrebleu' has no module", "other versions"),
        (
            "try:\n    import no_such_package\nexcept ImportError as e:\n    raise RuntimeError('get it') from e",
            "needs the package 'no_such_package'",
            "pip install 'no_such_package'",
        ),
        ("from lm_eval.utils import no_such_name", "cannot import name 'no_such_name'", None),
    ],
)
def test_code_that_cannot_be_imported(
    functions: TaskFunctions, write: Write, code: str, message: str, hint: str | None
) -> None:
    ref = write(code)
    with pytest.raises(TaskError, match=message) as caught:
        functions.check(ref)
    assert hint is None or hint in str(caught.value.hint)


def test_a_missing_module_names_where_it_was_looked_for(functions: TaskFunctions, write: Write) -> None:
    folder = write("").folder
    with pytest.raises(TaskError, match="needs the package 'nowhere_to_be_found'"):
        functions.check(FunctionRef("nowhere_to_be_found.f", folder))


def test_chance_depends_on_the_doc_alone(functions: TaskFunctions, write: Write) -> None:
    ref = write("""
        import random
        import numpy as np

        def f(doc):
            return random.random(), float(np.random.rand())
    """)
    first = functions.call(ref, {"a": 1, "b": "x"})
    other = functions.call(ref, {"a": 2, "b": "x"})
    assert first != other
    assert functions.call(ref, {"b": "x", "a": 1}) == first
    functions.close()
    assert functions.call(ref, {"a": 1, "b": "x"}) == first
    assert functions.call(ref, {1: "x", "1": 2}) == functions.call(ref, {1: "x", "1": 2})
