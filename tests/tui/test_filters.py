"""What a person types to see only some samples or rows."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from lmrun.store.query import Term
from lmrun.tui.filters import OUTCOMES, SAMPLES, Condition, Filter, FilterError, Keys, parse_filter

ROWS: Keys = {"name": (), "state": ("running", "done")}
TEXTS = st.text(st.sampled_from('ab:"\\!-* \n?[]wrong:é') | st.characters(), min_size=1, max_size=12)


def conditions(text: str, keys: Keys = SAMPLES) -> list[tuple[str, str, bool]]:
    return [(c.key, c.value, c.negated) for c in parse_filter(text, keys).conditions]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", []),
        ("  \t ", []),
        ("salt Marsh", [("", "salt", False), ("", "Marsh", False)]),
        ('"salt marsh"', [("", "salt marsh", False)]),
        (r'"a \"b\" \\ c"', [("", 'a "b" \\ c', False)]),
        ('!salt -"sea bed"', [("", "salt", True), ("", "sea bed", True)]),
        ("WRONG !no_match", [("is", "wrong", False), ("is", "no_match", True)]),
        ('"wrong"', [("", "wrong", False)]),
        ("is:right", [("is", "right", False)]),
        ("Model:qwen* !task:mmlu_?", [("model", "qwen*", False), ("task", "mmlu_?", True)]),
        ('label:"wrong gold"', [("label", "wrong gold", False)]),
        ("12:30 a-b:c", [("", "12:30", False), ("", "a-b:c", False)]),
        ('5" disk', [("", '5"', False), ("", "disk", False)]),
    ],
)
def test_parts_of_a_filter(text: str, expected: list[tuple[str, str, bool]]) -> None:
    assert conditions(text) == expected


@pytest.mark.parametrize(
    ("text", "place", "message", "hint"),
    [
        ('a "b c', (2, 6), "not closed", None),
        ('a "b"c', (5, 6), "space is missing", None),
        ('a ""', (2, 4), "nothing stands in", None),
        ("a !", (2, 3), "nothing stands after '!'", None),
        ("model: x", (0, 6), "nothing stands after 'model:'", None),
        ("a modle:x b", (2, 9), "no key 'modle'", "did you mean 'model'?"),
        ("http://x", (0, 8), "no key 'http'", "quotation marks"),
        ("status:eror", (0, 11), "no value 'eror'", "did you mean 'error'?"),
        ("is:wrnog", (0, 8), "no value 'wrnog'", "did you mean 'wrong'"),
        ("is:wr*", (0, 6), "no value", None),
        ("doc:1*", (0, 6), "takes a number", None),
        ("doc:" + "9" * 19, (0, 23), "takes a number", None),
    ],
)
def test_a_mistake_is_named_with_its_place(text: str, place: tuple[int, int], message: str, hint: str | None) -> None:
    with pytest.raises(FilterError, match=message) as caught:
        parse_filter(text)
    assert (caught.value.start, caught.value.end) == place
    assert hint is None or hint in (caught.value.hint or "")


def test_a_filter_for_samples_is_a_query() -> None:
    query = parse_filter("salt !model:gpt* right -error label:*").query()
    assert query.terms == (
        Term("text", "salt"),
        Term("model", "gpt*", True),
        Term("is", "correct"),
        Term("is", "errors", True),
        Term("label", "*"),
    )


@pytest.mark.parametrize(
    ("text", "fits"),
    [
        ("qwen", True),
        ("QWEN done", True),
        ("qwen gpt", False),
        ("!gpt", True),
        ("-qwen", False),
        ("name:qwen*", True),
        ("name:qwen", False),
        ("name:gpt* name:q?en-8b", True),
        ("name:qwen* state:running", False),
        ("!state:done", False),
        ("right", False),
        ("", True),
    ],
)
def test_rows_of_a_table(text: str, fits: bool) -> None:
    assert parse_filter(text, ROWS).matches({"name": "Qwen-8b", "state": "done"}) is fits


def test_words_on_how_a_sample_ended_are_words_in_a_table() -> None:
    assert parse_filter("error").matches({"event": "an error came"})
    assert conditions("wrong", ROWS) == [("", "wrong", False)]


def test_brackets_stand_for_themselves() -> None:
    row = {"name": "[ab]", "state": ""}
    assert parse_filter("name:[ab]", ROWS).matches(row)
    assert not parse_filter("name:[ab]", ROWS).matches({**row, "name": "a"})


@given(TEXTS | st.text(), st.sampled_from([SAMPLES, ROWS]))
@example('!"', SAMPLES)
@example("a:", SAMPLES)
def test_any_text_is_a_filter_or_a_filter_error(text: str, keys: Keys) -> None:
    try:
        found = parse_filter(text, keys)
    except FilterError as error:
        assert 0 <= error.start <= error.end <= len(text)
    else:
        assert parse_filter(str(found), keys) == found
        found.matches({"name": text})


def any_condition() -> st.SearchStrategy[Condition]:
    values = {
        "": TEXTS,
        "model": TEXTS,
        "task": TEXTS,
        "label": TEXTS,
        "doc": st.integers(0, 10**18 - 1).map(str),
        "status": st.sampled_from(["error", "s*", "PENDING"]),
        "is": st.sampled_from(list(OUTCOMES)),
    }
    return st.sampled_from(list(values)).flatmap(
        lambda key: st.builds(Condition, st.just(key), values[key], st.booleans())
    )


@given(st.lists(any_condition()))
@example([Condition("", "-a"), Condition("", "!a", True), Condition("label", '"'), Condition("", "wrong")])
def test_whatever_is_asked_can_be_spelled(asked: list[Condition]) -> None:
    wanted = Filter(tuple(asked))
    assert parse_filter(str(wanted)) == wanted


WORDS = st.sampled_from(["a", "B", "ab", "a b", "É", "x"])


def naive(asked: list[Condition], fields: Mapping[str, str]) -> bool:
    """What the rules say, without wildcards."""

    def true(condition: Condition) -> bool:
        if condition.key:
            return condition.value.lower() == fields[condition.key].lower()
        return any(condition.value.lower() in text.lower() for text in fields.values())

    excluded = any(true(c) for c in asked if c.negated)
    words = all(true(c) for c in asked if not c.negated and not c.key)
    keyed = {c.key for c in asked if c.key and not c.negated}
    return not excluded and words and all(any(true(c) for c in asked if c.key == k and not c.negated) for k in keyed)


@given(
    st.lists(st.builds(Condition, st.sampled_from(["", "name", "state"]), WORDS, st.booleans()), max_size=5),
    st.fixed_dictionaries({"name": WORDS, "state": WORDS}),
)
def test_a_row_fits_where_the_rules_say_so(asked: list[Condition], fields: dict[str, str]) -> None:
    assert Filter(tuple(asked), ROWS).matches(fields) is naive(asked, fields)
