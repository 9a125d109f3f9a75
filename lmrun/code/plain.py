"""Values that cross between processes: plain Python only, so that reading one runs nothing and imports nothing."""

from __future__ import annotations

import datetime
import decimal
import io
import pickle
from collections.abc import Callable, Iterator, Mapping, Sequence, Set, ValuesView
from typing import Any

_ATOMS = frozenset((str, int, float, bool, type(None), bytes, complex, decimal.Decimal))
_DATES = (datetime.date, datetime.time, datetime.timedelta)
_SCALARS: Mapping[type, Callable[[Any], Any]] = {
    str: str.__str__,
    int: int.__int__,
    float: float.__float__,
    complex: complex,
    bytes: bytes,
    bytearray: bytes,
}
_MODULES = frozenset(("datetime", "decimal", "zoneinfo", "_codecs"))
_BUILTINS = frozenset(("complex", "set"))


class NotPlainError(TypeError):
    """A value that means something only to the code that made it."""


def plain(value: Any) -> Any:
    """The value in Python's own types: numpy's become numbers and lists, lazy sequences lists, named tuples tuples.

    Raises :class:`NotPlainError` for objects of other classes, at any depth.
    """
    kind = type(value)
    if kind in _ATOMS:
        return value
    if kind is list:
        return [plain(item) for item in value]
    if kind is dict:
        return {plain(key): plain(item) for key, item in value.items()}
    if kind is tuple:
        return tuple(plain(item) for item in value)
    return _as_plain(value)


def _as_plain(value: Any) -> Any:
    for scalar, convert in _SCALARS.items():
        if isinstance(value, scalar):
            return convert(value)
    if isinstance(value, _DATES):
        return value.to_pydatetime() if hasattr(value, "to_pydatetime") else value
    if callable(getattr(value, "tolist", None)):  # numpy and its like
        return plain(value.tolist())
    if isinstance(value, Mapping):
        return {plain(key): plain(item) for key, item in value.items()}
    if isinstance(value, tuple):
        return tuple(plain(item) for item in value)
    if isinstance(value, set | frozenset):
        return {plain(item) for item in value}
    if isinstance(value, Sequence | Set | ValuesView | Iterator):
        return [plain(item) for item in value]
    raise NotPlainError(f"{kind_name(value)} is not text, a number, a list or a dict")


def kind_name(value: Any) -> str:
    """The class of a value, as errors name it."""
    kind = type(value)
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"


class _PlainUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if module in _MODULES or (module == "builtins" and name in _BUILTINS):
            return super().find_class(module, name)
        raise pickle.UnpicklingError(f"{module}.{name} is not a plain value")


def dump(value: Any) -> bytes:
    """The value as bytes, see :func:`load`."""
    return pickle.dumps(value, pickle.HIGHEST_PROTOCOL)


def load(data: bytes) -> Any:
    """The plain value in ``data``; pickle.UnpicklingError for any other."""
    return _PlainUnpickler(io.BytesIO(data)).load()
