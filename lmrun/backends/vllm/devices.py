"""Which devices each of several engines gets."""

from __future__ import annotations

import os
from collections.abc import Sequence

from lmrun.errors import BackendError


def device_groups(size: int, count: int) -> list[tuple[str, ...]]:
    """For each of ``count`` engines the names of its ``size`` devices; empty where it takes what it finds.

    Raises:
        BackendError: there are not so many.
    """
    if count == 1:
        return [()]
    visible = visible_devices()
    if not visible:
        return [()] * count  # on the CPU
    if len(visible) < size * count:
        raise BackendError(
            f"{count} engines of {size} devices each need {size * count}, and there are {len(visible)}",
            hint="a smaller data_parallel_size or tensor_parallel_size; CUDA_VISIBLE_DEVICES may hide some",
        )
    return [tuple(visible[i * size : (i + 1) * size]) for i in range(count)]


def visible_devices() -> Sequence[str]:
    """Names of the GPUs that a process of this user sees, as CUDA_VISIBLE_DEVICES spells them."""
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    if named is not None:
        return [name.strip() for name in named.split(",") if name.strip() not in ("", "-1")]
    import pynvml

    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return []
    try:
        return [str(i) for i in range(pynvml.nvmlDeviceGetCount())]
    finally:
        pynvml.nvmlShutdown()
