"""Measurements of the machine while a run goes on: memory and load of this process, memory and load of GPUs."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any


class Gauges:
    """Samples at most every ``interval`` seconds, whenever it is called."""

    interval = 5.0

    def __init__(self, record: Callable[[dict[str, float]], None]) -> None:
        import psutil

        self._record = record
        self._process = psutil.Process()
        self._process.cpu_percent()  # the first call only starts the clock
        self._gpus = _nvidia_gpus()
        self._last = time.monotonic()

    def sample(self) -> None:
        """Record what is measured now, unless that was done just before."""
        now = time.monotonic()
        if now - self._last < self.interval:
            return
        self._last = now
        values = {"rss_bytes": float(self._process.memory_info().rss), "cpu_percent": self._process.cpu_percent()}
        for index, gpu in enumerate(self._gpus):
            values |= {f"gpu{index}_{name}": value for name, value in gpu().items()}
        self._record(values)


def _nvidia_gpus() -> list[Callable[[], dict[str, float]]]:
    """A reading function per NVIDIA GPU; none where there is no driver, or no nvidia-ml-py."""
    try:
        import pynvml

        pynvml.nvmlInit()
        handles = [pynvml.nvmlDeviceGetHandleByIndex(i) for i in range(pynvml.nvmlDeviceGetCount())]
    except ImportError:
        return []
    except pynvml.NVMLError:
        return []

    def reader(handle: Any) -> Callable[[], dict[str, float]]:
        def read() -> dict[str, float]:
            memory = pynvml.nvmlDeviceGetMemoryInfo(handle)
            load = pynvml.nvmlDeviceGetUtilizationRates(handle)
            return {"memory_bytes": float(memory.used), "utilisation_percent": float(load.gpu)}

        return read

    return [reader(handle) for handle in handles]
