"""API backends: speed, memory, limits, faults and wrong servers; lmrun, lm-eval, inspect_ai and a bare client in turn.

``LMRUN_LMEVAL_PYTHON`` names the Python of an environment with ``lm-eval[api,hf]``, ``LMRUN_INSPECT_PYTHON`` one with
``inspect-ai`` and ``openai``; without them, lmrun is measured alone.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from apibench.parts import PARTS, Setting


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"{', '.join(PARTS)}; none: all of them")
    parser.add_argument("--quick", action="store_true", help="little of everything, to see that it works")
    options = parser.parse_args()
    for name in options.parts:
        if name not in PARTS:
            parser.error(f'there is no part "{name}"; parts: {", ".join(PARTS)}')
    for name in options.parts or PARTS:
        print(f"\n== {name}: {PARTS[name].__doc__}", flush=True)
        with tempfile.TemporaryDirectory() as folder:
            PARTS[name](Setting(Path(folder), options.quick))


if __name__ == "__main__":
    main()
