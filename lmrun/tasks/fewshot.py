"""Which docs become the examples of a prompt, draw for draw as lm-eval chooses them.

The random sampler has one generator per task, used up doc after doc. So the examples of a doc depend on the docs before
it, on the number of examples, on the size of the pool, and on whether the doc itself is kept out; never on ``limit``.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from random import Random
from typing import Any, Protocol

from lmrun.errors import Location, TaskError
from lmrun.tasks.problems import task_error

SAMPLERS = ("default", "first_n")

Doc = dict[str, Any]


class Pool(Protocol):
    """Docs that examples are taken from: a split or a list."""

    def __len__(self) -> int: ...
    def __getitem__(self, index: int, /) -> Doc: ...


class FewshotSampler:
    """Chooses examples for one doc after another."""

    def __init__(self, kind: str, pool: Pool, seed: int, task: str, location: Location | None) -> None:
        """``kind`` is one of :data:`SAMPLERS`; ``location`` is where the pool is named, for errors."""
        self._kind = kind
        self._pool = pool
        self._random = Random(seed)
        self._task = task
        self._location = location
        # Rows are decoded on demand and a small pool is drawn from again and again.
        self._seen: dict[int, Doc] = {}

    def sample(self, n: int, eval_doc: Doc | None) -> list[Doc]:
        """``n`` examples in the order of the prompt.

        ``eval_doc`` is the doc to keep out; None where the task's rule does not keep it out. Raises
        :class:`~lmrun.errors.TaskError` where the pool is too small.
        """
        if n == 0:
            return []
        if self._kind == "first_n":
            return self._first(n, eval_doc)
        return self._draw(n, eval_doc)

    def _draw(self, n: int, eval_doc: Doc | None) -> list[Doc]:
        if not eval_doc:
            return self._docs(self._choose(range(len(self._pool)), n))
        # One more than needed is drawn, so that one is left over when the doc itself is among them.
        chosen = self._without(eval_doc, self._docs(self._choose(range(len(self._pool)), n + 1)))[:n]
        if len(chosen) == n:
            return chosen
        # The pool holds copies of the doc and several were drawn.
        others = [i for i in range(len(self._pool)) if self._doc(i) != eval_doc]
        return self._docs(self._choose(others, n))

    def _first(self, n: int, eval_doc: Doc | None) -> list[Doc]:
        chosen: list[Doc] = []
        for i in range(len(self._pool)):
            if eval_doc is None or self._doc(i) != eval_doc:
                chosen.append(self._doc(i))
            if len(chosen) == n:
                return chosen
        raise self._too_small(n, len(chosen))

    def _choose(self, indices: Sequence[int], k: int) -> list[int]:
        if k > len(indices):
            raise self._too_small(k, len(indices))
        return self._random.sample(indices, k)

    def _docs(self, indices: Iterable[int]) -> list[Doc]:
        return [self._doc(i) for i in indices]

    def _doc(self, index: int) -> Doc:
        if index not in self._seen:
            self._seen[index] = self._pool[index]
        return self._seen[index]

    @staticmethod
    def _without(eval_doc: Doc, docs: list[Doc]) -> list[Doc]:
        return [doc for doc in docs if doc != eval_doc]

    def _too_small(self, needed: int, there: int) -> TaskError:
        return task_error(
            f"task {self._task!r} has too few few-shot examples",
            f"{self._task}: examples are chosen from {there} docs, and {needed} are needed",
            self._location,
            hint="ask for a smaller num_fewshot",
        )
