"""What the backends log (``logging``, below ``lmrun``) goes into the run's structured log."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from lmrun.store.log import Level, RunLog


class _ToRunLog(logging.Handler):
    def __init__(self, log: RunLog) -> None:
        super().__init__(logging.DEBUG)
        self._log = log

    def emit(self, record: logging.LogRecord) -> None:
        fields: dict[str, Any] = getattr(record, "fields", {})
        self._log.write(_level(record.levelno), record.getMessage(), **fields)


def _level(number: int) -> Level:
    if number >= logging.ERROR:
        return "error"
    if number >= logging.WARNING:
        return "warning"
    return "info" if number >= logging.INFO else "debug"


@contextmanager
def backend_log(log: RunLog) -> Iterator[None]:
    """Send records of the ``lmrun`` loggers to ``log``; ``extra={"fields": {…}}`` become fields of the line."""
    logger = logging.getLogger("lmrun")
    handler = _ToRunLog(log)
    before = logger.level, logger.propagate
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG)
    logger.propagate = False
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.level, logger.propagate = before
