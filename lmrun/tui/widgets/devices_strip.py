"""What the engine's machine is doing: its GPUs, or the engine's own process."""

from __future__ import annotations

from collections.abc import Sequence

from textual.content import Content

from lmrun.engine.progress import Device
from lmrun.tui.state import RunView
from lmrun.tui.text import one_line
from lmrun.tui.widgets.grid import Piece, Place, flow, grid
from lmrun.tui.widgets.strips import Strip
from lmrun.tui.words import bar, memory

MOST = 4
"""Devices that are listed one by one."""
BAR, LONG_BAR = 8, 20
_PLACES = (
    Place(most=16, fill=True),
    Place(rank=3),
    Place(right=True),
    Place(right=True, least=4, rank=1),
    Place(right=True, rank=2),
)


class DevicesStrip(Strip):
    """A line per GPU: memory, load, power."""

    title = "devices"

    def lines(self, view: RunView, width: int) -> Sequence[Content]:
        """Each GPU; several as one where there are many."""
        if not view.devices:
            return grid(_process(view), (Place(), Place(), Place()), width)
        devices = list(view.devices)
        hidden = devices[MOST - 1 :] if len(devices) > MOST else []
        listed = devices[: len(devices) - len(hidden)] + ([_together(hidden)] if hidden else [])
        cells = BAR if width < 60 else LONG_BAR
        return grid([_row(device, cells) for device in listed], _PLACES, width)

    def line(self, view: RunView, width: int) -> Content:
        """GPUs behind each other, or the engine's process."""
        groups = [_short(device) for device in view.devices] or [
            [Piece(f"{name.text} ", name.style), amount] for _, name, amount in _process(view)
        ]
        return flow(list(enumerate(groups)), width, " · ")


def has_devices(view: RunView | None) -> bool:
    """There is something to show."""
    return view is not None and (bool(view.devices) or view.rss is not None)


def _together(devices: Sequence[Device]) -> Device:
    loads = [device.utilisation for device in devices if device.utilisation is not None]
    watts = [device.power for device in devices if device.power is not None]
    return Device(
        f"{len(devices)} more",
        sum(device.memory_used for device in devices),
        sum(device.memory_total for device in devices),
        sum(loads) / len(loads) if loads else None,
        sum(watts) if watts else None,
    )


def _share(device: Device) -> float:
    return device.memory_used / device.memory_total if device.memory_total else 0.0


def _gigabytes(device: Device) -> str:
    return f"{device.memory_used / 2**30:.0f}/{device.memory_total / 2**30:.0f} GB"


def _load(device: Device) -> str:
    return "" if device.utilisation is None else f"{device.utilisation:.0f}%"


def _row(device: Device, cells: int) -> Sequence[Piece]:
    return (
        Piece(one_line(device.name), "bold"),
        Piece(bar(_share(device), cells), "$primary on $foreground 10%"),
        Piece(_gigabytes(device)),
        Piece(_load(device)),
        Piece("" if device.power is None else f"{device.power:.0f} W", "dim"),
    )


def _short(device: Device) -> Sequence[Piece]:
    return (
        Piece(one_line(device.name), "bold"),
        Piece(f"  {_gigabytes(device)}"),
        Piece(f"  {_load(device)}" if _load(device) else ""),
    )


def _process(view: RunView) -> Sequence[Sequence[Piece]]:
    cpu = "" if view.cpu is None else f"{view.cpu:.0f}%"
    rss = "" if view.rss is None else memory(view.rss)
    return (
        (Piece("engine", "dim"), Piece("CPU", "dim"), Piece(cpu, "bold")),
        (Piece(""), Piece("memory", "dim"), Piece(rss, "bold")),
    )
