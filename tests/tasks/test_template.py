"""Templates: jinja as the task files expect it, in a sandbox."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmrun.tasks.template import TemplateError, check_template, render


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("Q: {{q}}\n", "Q: why?\n"),
        ("{{none}}|{{n}}|{{f}}|{{items}}", "None|7|0.5|['a', \"b'\"]"),
        ("{% for i in items %}{{loop.index}}{{i}} {% endfor %}", "1a 2b' "),
        ("{{items.index('a')}}", "0"),
        ("{{' '.join(items)}}", "a b'"),
        ("{{nested.text[1]}}{{nested['text'][0]}}", "yx"),
        ("{% if missing is defined %}x{% else %}y{% endif %}", "y"),
        ("{% set s = q.split('h') %}{{s[-1]}}", "y?"),
        ("{{q|regex_replace('[wy]', '_')}}", "_h_?"),
        ("{{q|regex_replace('[wy]', '_', 1)}}", "_hy?"),
        ("{{'<b>'}}", "<b>"),
        ("{{range(3)|list}}", "[0, 1, 2]"),
        ("no braces\r\nat all", "no braces\nat all"),
        ("  {{q}}  ", "  why?  "),
    ],
)
def test_rendering(source: str, text: str) -> None:
    doc = {
        "q": "why?",
        "none": None,
        "n": 7,
        "f": 0.5,
        "items": ["a", "b'"],
        "nested": {"text": ["x", "y"]},
        "self": "a column called self",
    }
    assert render(source, doc) == text


@given(st.text().filter(lambda s: "{" not in s and "\r" not in s))
def test_text_without_braces_is_itself(text: str) -> None:
    assert render(text, {}) == text


@given(st.dictionaries(st.sampled_from(["a", "b", "c"]), st.text(), min_size=3))
def test_rendering_is_deterministic_and_changes_no_doc(doc: dict[str, str]) -> None:
    before = dict(doc)
    source = "{{a}}{% for x in [b, c] %}-{{x.strip()}}{% endfor %}"
    assert render(source, doc) == render(source, doc) == f"{doc['a']}-{doc['b'].strip()}-{doc['c'].strip()}"
    assert doc == before


def test_an_undefined_column_is_named_with_those_that_there_are() -> None:
    with pytest.raises(TemplateError) as caught:
        render("{{questoin}}", {"question": 1, "answer": 2})
    assert caught.value.message == "the doc has no column 'questoin'"
    assert caught.value.expected == "one of its columns: question, answer"
    assert caught.value.hint == "did you mean 'question'?"


@pytest.mark.parametrize(
    "source",
    [
        "{{q.missing}}",
        "{{items[5]}}",
        "{{items.index('z')}}",
        "{{1 / 0}}",
        "{{q + 1}}",
        "{{q.__class__}}",
        "{{q.__class__.__mro__[1].__subclasses__()}}",
        "{{''.format.__globals__}}",
        "{% include 'x' %}",
        "{% for i in range(1000000000) %}{% endfor %}",
    ],
)
def test_a_template_that_fails_or_reaches_out_is_an_error(source: str) -> None:
    with pytest.raises(TemplateError):
        render(source, {"q": "x", "items": ["a"]})


@pytest.mark.parametrize("source", ["{{q", "{% if x %}", "{{ q | no_such_filter }}", "{% frobnicate %}"])
def test_syntax_errors_are_found_before_any_doc(source: str) -> None:
    with pytest.raises(TemplateError, match="not a valid template"):
        check_template(source)
