"""What the machine says of itself: memory and load of this process, and of every NVIDIA GPU."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from threading import Lock
from typing import Any

from lmrun.engine.progress import Device, Machine

FRESH = 1.0
"""Seconds for which a reading is good."""


class MachineReader:
    """Reads the machine, for any thread, at most once per :data:`FRESH`. What cannot be read is left out."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        import psutil

        self._clock = clock
        self._lock = Lock()  # guards what was read last, and the clock of cpu_percent
        self._process = psutil.Process()
        self._process.cpu_percent()  # the first call only starts the clock
        self._gpus: Sequence[Callable[[], Device | None]] | None = None
        self._read = Machine()
        self._until = clock() + FRESH / 4

    def read(self) -> Machine:
        """The machine now, or a moment ago."""
        with self._lock:
            now = self._clock()
            if now >= self._until:
                self._read, self._until = self._measure(), now + FRESH
            return self._read

    def _measure(self) -> Machine:
        import psutil

        if self._gpus is None:
            self._gpus = nvidia_gpus()
        devices = tuple(device for gpu in self._gpus if (device := gpu()))
        try:
            return Machine(devices, float(self._process.memory_info().rss), self._process.cpu_percent())
        except (psutil.Error, OSError):
            return Machine(devices)


def nvidia_gpus() -> list[Callable[[], Device | None]]:
    """A reading function per NVIDIA GPU; none where there is no driver, or no nvidia-ml-py."""
    try:
        import pynvml
    except ImportError:
        return []
    gpus: list[Callable[[], Device | None]] = []
    with suppress(pynvml.NVMLError):
        pynvml.nvmlInit()
        for index in range(pynvml.nvmlDeviceGetCount()):
            with suppress(pynvml.NVMLError):  # one that has fallen off the bus must not hide the others
                gpus.append(_reader(pynvml, index))
    return gpus


def _reader(nvml: Any, index: int) -> Callable[[], Device | None]:
    handle = nvml.nvmlDeviceGetHandleByIndex(index)
    name = nvml.nvmlDeviceGetName(handle)
    name = name.decode(errors="replace") if isinstance(name, bytes) else name

    def optional(read: Callable[[Any], Any]) -> Any:
        with suppress(nvml.NVMLError):  # some boards do not tell everything
            return read(handle)
        return None

    def read() -> Device | None:
        memory = optional(nvml.nvmlDeviceGetMemoryInfo)
        if memory is None:
            return None
        load, milliwatts = optional(nvml.nvmlDeviceGetUtilizationRates), optional(nvml.nvmlDeviceGetPowerUsage)
        return Device(
            name=f"{index} {name.removeprefix('NVIDIA ')}",
            memory_used=float(memory.used),
            memory_total=float(memory.total),
            utilisation=None if load is None else float(load.gpu),
            power=None if milliwatts is None else milliwatts / 1000,
        )

    return read
