"""What is measured: GPUs through a stand-in for NVIDIA's library, and what is kept of it over time."""

from __future__ import annotations

import sqlite3
import sys
from contextlib import closing
from types import SimpleNamespace
from typing import Any

import pytest

from lmrun.engine import gauges
from lmrun.engine.devices import FRESH, MachineReader, nvidia_gpus
from lmrun.engine.progress import Device, Machine, ModelProgress, Tracker
from tests.display.test_plain import Clock
from tests.engine.conftest import World


class NvmlError(Exception):
    """As the library raises it."""


class Nvml(SimpleNamespace):
    """Three GPUs: one as it should be, one that tells little, one that has fallen off the bus."""

    NVMLError = NvmlError
    reads = 0

    def nvmlInit(self) -> None:  # noqa: N802
        """Nothing to do."""

    def nvmlDeviceGetCount(self) -> int:  # noqa: N802
        return 3

    def nvmlDeviceGetHandleByIndex(self, index: int) -> int:  # noqa: N802
        if index == 2:
            raise NvmlError("lost")
        return index

    def nvmlDeviceGetName(self, handle: int) -> str | bytes:  # noqa: N802
        return b"NVIDIA H200" if handle else "NVIDIA H200"

    def nvmlDeviceGetMemoryInfo(self, _handle: int) -> Any:  # noqa: N802
        self.reads += 1
        return SimpleNamespace(used=3 * 2**30, total=141 * 2**30)

    def nvmlDeviceGetUtilizationRates(self, handle: int) -> Any:  # noqa: N802
        if handle == 1:
            raise NvmlError("not supported")
        return SimpleNamespace(gpu=87, memory=40)

    def nvmlDeviceGetPowerUsage(self, handle: int) -> int:  # noqa: N802
        if handle == 1:
            raise NvmlError("not supported")
        return 612_500


@pytest.fixture
def nvml(monkeypatch: pytest.MonkeyPatch) -> Nvml:
    library = Nvml()
    monkeypatch.setitem(sys.modules, "pynvml", library)
    return library


GPUS = (
    Device("0 H200", 3.0 * 2**30, 141.0 * 2**30, 87.0, 612.5),
    Device("1 H200", 3.0 * 2**30, 141.0 * 2**30, None, None),
)


def test_gpus_are_read_with_what_they_tell(nvml: Nvml) -> None:
    assert tuple(gpu() for gpu in nvidia_gpus()) == GPUS


def test_no_driver_means_no_gpus(nvml: Nvml, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> None:
        raise NvmlError("no driver")

    monkeypatch.setattr(nvml, "nvmlInit", fail)
    assert nvidia_gpus() == []


def test_a_reading_is_good_for_a_second(nvml: Nvml) -> None:
    clock = Clock()
    reader = MachineReader(clock)
    clock.now = FRESH
    first = reader.read()
    assert first.devices == GPUS and first.rss and first.rss > 2**20 and first.cpu is not None
    assert reader.read() is first and nvml.reads == 2
    clock.now += FRESH
    assert reader.read() is not first and nvml.reads == 4


def test_a_gpu_that_gets_lost_is_left_out(nvml: Nvml, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_handle: int) -> None:
        raise NvmlError("lost")

    clock = Clock()
    reader = MachineReader(clock)
    clock.now = FRESH
    assert reader.read().devices
    monkeypatch.setattr(nvml, "nvmlDeviceGetMemoryInfo", fail)
    clock.now += FRESH
    assert reader.read().devices == ()


def test_gauges_have_names() -> None:
    tracker = Tracker()
    models = [ModelProgress("a", "hf", "a", in_flight=3, limit=8), ModelProgress("b", "hf", "b")]
    tracker.start("r", [], models)
    tracker.measure(lambda: Machine(GPUS, 5.0, 50.0))
    values = dict(gauges.values(tracker.snapshot()))
    assert values == {
        "rss_bytes": 5.0,
        "cpu_percent": 50.0,
        "gpu0_memory_bytes": 3.0 * 2**30,
        "gpu0_utilisation_percent": 87.0,
        "gpu0_power_watts": 612.5,
        "gpu1_memory_bytes": 3.0 * 2**30,
        "in_flight": 3.0,
        "limit": 8.0,
    }


@pytest.mark.parametrize("streaming", [False, True])
def test_a_run_keeps_its_gauges(world: World, nvml: Nvml, monkeypatch: pytest.MonkeyPatch, streaming: bool) -> None:
    monkeypatch.setattr(gauges, "INTERVAL", 0.02)
    stub = world.stub(chunk=1, latency_ms=100.0, streaming=streaming, in_flight=4)
    outcome = world.run(world.manifest(stub))
    with closing(sqlite3.connect(outcome.directory.database)) as db:
        rows = db.execute("SELECT name, count(*), max(value) FROM gauges GROUP BY name").fetchall()
        times = [time for (time,) in db.execute("SELECT DISTINCT time FROM gauges ORDER BY rowid")]
    found = {name: most for name, _, most in rows}
    assert {"rss_bytes", "cpu_percent", "gpu0_power_watts", "requests_per_second", "tokens_per_second"} <= set(found)
    assert found["gpu0_power_watts"] == 612.5 and found["requests_per_second"] > 0
    assert times == sorted(times) and len(times) > 3
    if streaming:
        assert found["limit"] == 4 and 0 < found["in_flight"] <= 4
