"""What the backends log (``logging``, below ``lmrun``) goes into the run's structured log."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from lmrun.store.log import Level, RunLog


class _ToRunLog(logging.Handler):
    def __init__(self, log: RunLog, tell: Callable[[str], None]) -> None:
        super().__init__(logging.DEBUG)
        self._log = log
        self._tell = tell

    def emit(self, record: logging.LogRecord) -> None:
        fields: dict[str, Any] = getattr(record, "fields", {})
        self._log.write(_level(record.levelno), record.getMessage(), **fields)
        if getattr(record, "notice", False):
            self._tell(f"{record.levelname.lower()}: {record.getMessage()}")


def _level(number: int) -> Level:
    if number >= logging.ERROR:
        return "error"
    if number >= logging.WARNING:
        return "warning"
    return "info" if number >= logging.INFO else "debug"


@contextmanager
def backend_log(log: RunLog, tell: Callable[[str], None]) -> Iterator[None]:
    """Send records of the ``lmrun`` loggers to ``log``; ``extra={"fields": {…}}`` become fields of the line.

    Those with ``extra={"notice": True}`` are for the user too, who is told by ``tell``.
    """
    logger = logging.getLogger("lmrun")
    handler = _ToRunLog(log, tell)
    before = logger.level, logger.propagate
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG)
    logger.propagate = False
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.level, logger.propagate = before
