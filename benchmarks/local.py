"""Models on this machine: speed, memory and tokens computed, lmrun and lm-eval in turn.

``LMRUN_LMEVAL_PYTHON`` names the Python of an environment with ``lm-eval[hf]``; without it, lmrun is measured alone.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from pathlib import Path

from localbench.models import SIZES, save_model
from localbench.programs import Setting
from localbench.table import BATCH_SIZES, HEAD, Bench
from localbench.tasks import WORKS


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", choices=SIZES, default="small", help="random weights: 5 M, 60 M or 1.1 B")
    parser.add_argument("--work", metavar="NAME,…", help=f"some of {', '.join(WORKS)}")
    parser.add_argument("--limit", type=int, help="docs per work, at most")
    parser.add_argument("--turns", type=int, default=3, help="times that both programs take their turn")
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    sizes = ", ".join(map(str, BATCH_SIZES))
    parser.add_argument("--batch-size", type=int, help=f"lm-eval's; absent: the best of {sizes}, as a pilot finds")
    options = parser.parse_args()
    names = options.work.split(",") if options.work else list(WORKS)
    for name in names:
        if name not in WORKS:
            parser.error(f'there is no work "{name}"; works: {", ".join(WORKS)}')
    with tempfile.TemporaryDirectory() as folder:
        size = SIZES[options.model]
        model = save_model(Path(folder) / "model", size)
        setting = Setting(Path(folder), model, size.dtype, options.device)
        peer = os.environ.get("LMRUN_LMEVAL_PYTHON")
        bench = Bench(setting, options.turns, options.limit, peer, options.batch_size)
        print(HEAD, flush=True)
        for name in names:
            print(bench.line(WORKS[name]), flush=True)


if __name__ == "__main__":
    main()
