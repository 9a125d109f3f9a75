"""What a task says of a doc: ``doc_to_text`` and its kin, each a column name, a template or a constant."""

from __future__ import annotations

import ast
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from lmrun.errors import Location, TaskError, did_you_mean
from lmrun.functions import FunctionRef, Functions
from lmrun.tasks.config import TaskConfig
from lmrun.tasks.problems import listing, task_error
from lmrun.tasks.template import TemplateError, render

Doc = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Fields:
    """The fields of one task.

    A text that equals one of ``columns`` is the value of that column, with its type; any other text is a template.
    Few-shot docs are read by the same columns, wherever they come from.
    """

    config: TaskConfig
    columns: Collection[str]
    """Columns of the docs that are evaluated."""
    functions: Functions

    # -- the doc that is evaluated -----------------------------------------------------------------

    def text(self, doc: Doc) -> Any:
        """``doc_to_text``; an int is the index of a choice, and the choices are then the contexts."""
        return self._text(self.config.doc_to_text, doc, "doc_to_text", self.config.place("doc_to_text"))

    def target(self, doc: Doc) -> Any:
        """``doc_to_target``: text, the index of a choice, a list, or whatever the column holds."""
        return self._target(self.config.doc_to_target, doc, "doc_to_target", self.config.place("doc_to_target"))

    def choices(self, doc: Doc) -> list[Any] | None:
        """``doc_to_choice``, or None where the task states none."""
        if self.config.doc_to_choice is None:
            return None
        return self._choices(self.config.doc_to_choice, doc, "doc_to_choice", self.config.place("doc_to_choice"))

    def description(self, doc: Doc) -> str:
        """The text before everything else, or ""."""
        return self._optional(self.config.description, doc, "description", self.config.place("description"))

    def gen_prefix(self, doc: Doc) -> str:
        """How the answer begins, or ""."""
        key, value = "gen_prefix", self.config.gen_prefix
        if value is None:
            return ""
        place = self.config.place(key)
        found = self._column(value, doc, key, place) if value in self.columns else self._render(value, doc, key, place)
        return "" if found is None else str(found)

    def decontamination_query(self, doc: Doc) -> str | None:
        """The text to look for in corpora, where the task states one."""
        key, value = "doc_to_decontamination_query", self.config.doc_to_decontamination_query
        if not self.config.should_decontaminate or value is None:
            return None
        return str(self._text(value, doc, key, self.config.place(key)))

    # -- few-shot examples -------------------------------------------------------------------------

    def fewshot_text(self, doc: Doc) -> Any:
        """``doc_to_text`` of an example."""
        value = self.config.fewshot_config.doc_to_text
        if value is None:
            return self.text(doc)
        return self._text(value, doc, "doc_to_text", self.config.fewshot_place("doc_to_text"))

    def fewshot_target(self, doc: Doc) -> Any:
        """``doc_to_target`` of an example."""
        value = self.config.fewshot_config.doc_to_target
        if value is None:
            return self.target(doc)
        return self._target(value, doc, "doc_to_target", self.config.fewshot_place("doc_to_target"))

    def fewshot_choices(self, doc: Doc) -> list[Any] | None:
        """``doc_to_choice`` of an example, or None where examples have none."""
        value = self.config.fewshot_config.doc_to_choice
        if not value:
            return None
        return self._choices(value, doc, "doc_to_choice", self.config.fewshot_place("doc_to_choice"))

    def fewshot_gen_prefix(self, doc: Doc) -> str:
        """How the answer of an example begins, or ""."""
        value = self.config.fewshot_config.gen_prefix
        return self._optional(value, doc, "gen_prefix", self.config.fewshot_place("gen_prefix"))

    # -- the rules ---------------------------------------------------------------------------------

    def _text(self, value: Any, doc: Doc, key: str, place: Location | None) -> Any:
        if isinstance(value, FunctionRef):
            return self.functions.call(value, doc)
        if not isinstance(value, str):
            return value
        if value in self.columns:
            return self._column(value, doc, key, place)
        text = self._render(value, doc, key, place)
        return self._index(text, key, place) if self._is_index(text) else text

    def _target(self, value: Any, doc: Doc, key: str, place: Location | None) -> Any:
        if isinstance(value, FunctionRef):
            return self.functions.call(value, doc)
        if not isinstance(value, str):
            return value
        if value in self.columns:
            return self._column(value, doc, key, place)
        text = self._render(value, doc, key, place)
        if self._is_index(text):
            return self._index(text, key, place)
        if len(text) >= 2 and text[0] == "[" and text[-1] == "]":
            try:
                return ast.literal_eval(text)
            except (SyntaxError, ValueError):
                return text
        return text

    def _choices(self, value: Any, doc: Doc, key: str, place: Location | None) -> list[Any]:
        if isinstance(value, Mapping):
            return list(value.values())
        found = value
        if isinstance(value, FunctionRef):
            found = self.functions.call(value, doc)
        elif isinstance(value, str) and value in self.columns:
            found = self._column(value, doc, key, place)
        elif isinstance(value, str):
            text = self._render(value, doc, key, place)
            try:
                found = ast.literal_eval(text)
            except (SyntaxError, ValueError) as error:
                raise self._fail(f"{key} gives {_short(text)}", place, expected="the text of a Python list") from error
        if not isinstance(found, (list, tuple)):
            raise self._fail(f"{key} gives {_short(found)}", place, expected="a list of choices")
        return list(found)

    def _optional(self, value: Any, doc: Doc, key: str, place: Location | None) -> str:
        """A key of this very doc, else a template; nothing where it is empty."""
        if not value:
            return ""
        found = doc[value] if value in doc else self._render(value, doc, key, place)
        return "" if found is None else str(found)

    def _is_index(self, text: str) -> bool:
        """Digits stand for a choice where the task has choices."""
        return text.isdigit() and self.config.doc_to_choice is not None

    def _index(self, text: str, key: str, place: Location | None) -> Any:
        try:
            return ast.literal_eval(text)
        except SyntaxError as error:
            raise self._fail(
                f"{key} gives {text!r}, which looks like the index of a choice but is no number",
                place,
                expected="digits without a leading zero, or text that is not all digits",
            ) from error

    def _column(self, name: str, doc: Doc, key: str, place: Location | None) -> Any:
        if name in doc:
            return doc[name]
        raise self._fail(
            f"{key}: the doc has no column {name!r}",
            place,
            expected=f"one of its columns: {listing(doc)}",
            hint=did_you_mean(name, doc),
        )

    def _render(self, template: str, doc: Doc, key: str, place: Location | None) -> str:
        try:
            return render(template, doc)
        except TemplateError as error:
            raise self._fail(f"{key}: {error.message}", place, expected=error.expected, hint=error.hint) from error

    def _fail(
        self, message: str, place: Location | None, *, expected: str | None = None, hint: str | None = None
    ) -> TaskError:
        return task_error(
            f"task {self.config.task!r} does not fit its data", message, place, expected=expected, hint=hint
        )


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 120 else text[:117] + "…"
