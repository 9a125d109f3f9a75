"""The live table on terminals of several widths."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from lmrun.display.live import LiveSink
from lmrun.engine.progress import JobProgress, Tracker


@pytest.mark.parametrize("width", [80, 120])
def test_nothing_that_counts_is_pushed_off_the_screen(width: int) -> None:
    tracker = Tracker(lambda: 0.0)
    tracker.start("run-1", [JobProgress("demo", f"arithmetic@num_fewshot={n}", requests=150) for n in (0, 5)])
    remarks = "refused 3.3%, no match 12.3% (strict-match), no match 12.3% (flexible-extract)"
    tracker.update("demo", "arithmetic@num_fewshot=0", state="done", headline="exact_match 0.5", remarks=remarks)
    tracker.phase("answering", "in flight 5/14, 1 retrying (503), limit 21.7 requests/s")
    console = Console(file=io.StringIO(), width=width, height=24)
    sink = LiveSink(console)
    lines = ["".join(part.text for part in line) for line in console.render_lines(sink._render(tracker.snapshot()))]
    sink.close(tracker.snapshot())
    shown = "\n".join(lines)
    assert "arithmetic" in lines[1] and "0/150" in lines[1] and "exact_match" in lines[1]
    assert "answering · 0/300" in shown and "in flight 5/14" in shown
    assert "cache" not in shown  # nothing came from it
    assert all(len(line.rstrip()) <= width for line in lines) and len(lines) == 5
