"""``python -m tests.library.pin``: pin what every bundled task asks.

A task that asks something else than is pinned needs another version. So a pin under the same version is kept, unless
``--force`` says that the rows have changed and not the task.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from fnmatch import fnmatchcase
from pathlib import Path

from lmrun.errors import LmrunError
from tests.library.shipped import Pin, Shipped, pin_of

PINS = Path(__file__).with_name("prompts.json")


def read_pins() -> dict[str, Pin]:
    """The pins by task."""
    stored = json.loads(PINS.read_text(encoding="utf-8")) if PINS.exists() else {}
    return {task: Pin(**pin) for task, pin in stored.items()}


def write_pins(pins: Mapping[str, Pin]) -> None:
    """A line per task, so that branches which pin different tasks merge."""
    lines = [f"{json.dumps(task)}: {json.dumps(asdict(pins[task]))}" for task in sorted(pins)]
    PINS.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")


def complaint(task: str, pinned: Pin | None, found: Pin) -> str | None:
    """What is wrong with the pin of a task."""
    renew = f"python -m tests.library.pin {task}"
    if pinned is None:
        return f"{task} is not pinned: {renew}"
    if pinned.version != found.version:
        return f"{task} has version {found.version}, and version {pinned.version} is pinned: {renew}"
    if pinned.hash != found.hash:
        return (
            f"{task} asks something else than version {found.version} did: raise metadata.version and {renew}; or, "
            f"where only its rows in tests/library/fixtures changed: {renew} --force"
        )
    return None


def _found(shipped: Shipped, patterns: list[str]) -> Iterator[tuple[str, Pin | LmrunError]]:
    for family, entries in shipped.entries.items():
        wanted = {entry.name for entry in entries if any(fnmatchcase(entry.name, pattern) for pattern in patterns)}
        for config in shipped.configs(family) if wanted else ():
            if config.task in wanted and not shipped.lacks_rows(config):
                try:
                    yield config.task, pin_of(shipped.task(config))
                except LmrunError as error:
                    yield config.task, error


def main() -> int:
    """Pin the tasks that fit; returns 1 where one could not be pinned, or has another pin under the same version."""
    parser = argparse.ArgumentParser(prog="python -m tests.library.pin", description=__doc__)
    parser.add_argument("patterns", nargs="*", default=["*"], metavar="TASK")
    parser.add_argument("--force", action="store_true", help="renew pins of the same version too")
    options = parser.parse_args()
    pins, refused = read_pins(), []
    with tempfile.TemporaryDirectory() as folder:
        shipped = Shipped(Path(folder))
        for name, pin in _found(shipped, options.patterns):
            pinned = pins.get(name)
            if isinstance(pin, LmrunError):
                refused.append("\n".join([f"{name}: {pin.message}", *map(str, pin.problems)]))
            elif pinned and pinned.version == pin.version and pinned.hash != pin.hash and not options.force:
                refused.append(str(complaint(name, pinned, pin)))
            else:
                pins[name] = pin
        known = {entry.name for entries in shipped.entries.values() for entry in entries}
    write_pins({name: pin for name, pin in pins.items() if name in known})
    sys.stderr.writelines(f"{text}\n" for text in refused)
    return 1 if refused else 0


if __name__ == "__main__":
    sys.exit(main())
