"""Docs as a task's ``process_docs`` sees and changes them: rows made on demand, in order."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from lmrun.data.split import Row, Split


class Docs:
    """A split, and the changes that have been asked for. It is a :class:`~lmrun.data.Split` itself.

    Each change gives new docs. A change is made whenever a row is read, so it has to be a function of the row alone.
    """

    def __init__(
        self,
        split: Split,
        indices: Sequence[int] | None = None,
        change: Callable[[Row], Row] | None = None,
        columns: tuple[str, ...] | None = None,
    ) -> None:
        """``indices`` are the rows that are left (all if None), ``change`` makes a doc of a row."""
        self._split = split
        self._indices = range(len(split)) if indices is None else indices
        self._change = change
        self.columns = split.columns if columns is None else columns
        self.revision = split.revision

    @property
    def fingerprint(self) -> str:
        """Of the rows as they are stored: what is done to them is part of the task's hash."""
        return self._split.fingerprint

    def map(self, change: Callable[[Row], Mapping[str, object]]) -> Docs:
        """The docs with the columns that ``change`` gives for each of them added or replaced."""
        before = self._change

        def changed(row: Row) -> Row:
            doc = row if before is None else before(row)
            return {**doc, **change(doc)}

        first = changed(self._split[self._indices[0]]) if len(self) else {}
        added = tuple(name for name in first if name not in self.columns)
        return Docs(self._split, self._indices, changed, (*self.columns, *added))

    def filter(self, keep: Callable[[Row], bool]) -> Docs:
        """The docs for which ``keep`` is true."""
        kept = [index for index, doc in zip(self._indices, self, strict=True) if keep(doc)]
        return Docs(self._split, kept, self._change, self.columns)

    def select(self, indices: Iterable[int]) -> Docs:
        """The docs at some positions, in that order."""
        return Docs(self._split, [self._indices[index] for index in indices], self._change, self.columns)

    def expand(self, parts: Callable[[Row], Sequence[Mapping[str, object]]]) -> Docs:
        """As many docs for each doc as ``parts`` gives columns for; these are added or replaced."""
        return Docs(_Parts(self, parts))

    def __len__(self) -> int:
        return len(self._indices)

    def __getitem__(self, index: int, /) -> Row:
        return self._doc(self._split[self._indices[index]])

    def __iter__(self) -> Iterator[Row]:
        if isinstance(self._indices, range):
            return map(self._doc, self._split)
        return (self[i] for i in range(len(self)))

    def _doc(self, row: Row) -> Row:
        return row if self._change is None else self._change(row)


class _Parts:
    """The docs that are made of each of some docs, one after another."""

    def __init__(self, docs: Docs, parts: Callable[[Row], Sequence[Mapping[str, object]]]) -> None:
        self._docs = docs
        self._parts = parts
        self._places = [(index, part) for index, doc in enumerate(docs) for part in range(len(parts(doc)))]
        self.columns = tuple(self[0]) if self._places else docs.columns
        self.fingerprint = docs.fingerprint
        self.revision = docs.revision

    def __len__(self) -> int:
        return len(self._places)

    def __getitem__(self, place: int, /) -> Row:
        index, part = self._places[place]
        doc = self._docs[index]
        return {**doc, **self._parts(doc)[part]}

    def __iter__(self) -> Iterator[Row]:
        return (self[place] for place in range(len(self)))
