"""MMLU-Pro keeps its 14 categories in one dataset: a `process_docs` for each."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lmrun.data import Docs


def _only(category: str) -> Callable[[Docs], Docs]:
    return lambda docs: docs.filter(lambda doc: doc["category"] == category)


biology = _only("biology")
business = _only("business")
chemistry = _only("chemistry")
computer_science = _only("computer science")
economics = _only("economics")
engineering = _only("engineering")
health = _only("health")
history = _only("history")
law = _only("law")
math = _only("math")
other = _only("other")
philosophy = _only("philosophy")
physics = _only("physics")
psychology = _only("psychology")
