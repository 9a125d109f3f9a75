"""Jinja templates of task files, rendered in a sandbox: a task file is data from somewhere and runs no code."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache, lru_cache
from typing import TYPE_CHECKING, Any

from lmrun.errors import did_you_mean
from lmrun.tasks.problems import listing

if TYPE_CHECKING:
    from jinja2 import Template
    from jinja2.sandbox import SandboxedEnvironment

_UNDEFINED = re.compile(r"^'(?P<name>.+)' is undefined$")


class TemplateError(Exception):
    """A template is wrong, or does not fit a doc. Whoever rendered it knows the key and the file, and says so."""

    def __init__(self, message: str, expected: str | None = None, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.expected = expected
        self.hint = hint


def _regex_replace(string: str, pattern: str, repl: str, count: int = 0) -> str:
    return re.sub(pattern, repl, string, count=count)


@cache
def _environment() -> SandboxedEnvironment:
    import jinja2
    from jinja2.sandbox import SandboxedEnvironment

    environment = SandboxedEnvironment(undefined=jinja2.StrictUndefined, keep_trailing_newline=True, autoescape=False)
    environment.filters["regex_replace"] = _regex_replace
    return environment


@lru_cache(maxsize=8192)
def _compiled(source: str) -> Template:
    return _environment().from_string(source)


def _is_plain(source: str) -> bool:
    """Without a brace nothing is rendered, and without a carriage return no newline is normalised either."""
    return "{" not in source and "\r" not in source


def check_template(source: str) -> None:
    """Compile a template. Raises :class:`TemplateError` for a syntax error."""
    import jinja2

    if _is_plain(source):
        return
    try:
        _compiled(source)
    except jinja2.TemplateSyntaxError as error:
        raise TemplateError(f"not a valid template: {error.message} (line {error.lineno} of the template)") from error


def render(source: str, doc: Mapping[str, Any]) -> str:
    """Render a template with the columns of a doc as names. Raises :class:`TemplateError`."""
    import jinja2

    if _is_plain(source):
        return source
    check_template(source)
    try:
        return _compiled(source).render(doc)
    except jinja2.UndefinedError as error:
        raise _undefined(str(error.message), doc) from error
    # A boundary: a template is a user's code, and what it calls on a value of a doc may raise anything.
    except Exception as error:
        raise TemplateError(f"the template fails: {type(error).__name__}: {error}") from error


def _undefined(message: str, doc: Mapping[str, Any]) -> TemplateError:
    named = _UNDEFINED.match(message)
    if not named:
        return TemplateError(f"the template asks for something that the doc has not: {message}")
    name = named["name"]
    return TemplateError(
        f"the doc has no column {name!r}",
        expected=f"one of its columns: {listing(doc)}",
        hint=did_you_mean(name, doc),
    )
