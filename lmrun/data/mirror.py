"""The offline mirror: ``<mirror>/<org>/<name>/<config|default>/<split>.{parquet,jsonl,jsonl.gz}``.

``MANIFEST.json`` beside the data is optional for reading. It may rename datasets (``aliases``: hub id → hub id) and
names the revision, row count and checksum of each split.
"""

from __future__ import annotations

import hashlib
import json
import re
from functools import cached_property
from pathlib import Path
from typing import Any

from lmrun.data.local import LOCAL_BUILDERS, FileDataset, is_remote
from lmrun.data.lookup import config_folder, config_names, missing_config, split_files
from lmrun.data.split import MIRROR_SUFFIXES, DatasetSpec
from lmrun.errors import DataError, Location, Problem, did_you_mean
from lmrun.requests import canonical_json

MANIFEST = "MANIFEST.json"
LAYOUT = "<org>/<name>/<config|default>/<split>.{parquet,jsonl,jsonl.gz}"

_HUB_ID = re.compile(r"[A-Za-z0-9_][\w.-]*(/[\w.-]*[\w-][\w.-]*)?", re.ASCII)


def mirror_config(spec: DatasetSpec) -> str | None:
    """Name of the config folder of a spec. A choice of files is a config of its own, else choices would mix up."""
    chosen = {key: spec.kwargs[key] for key in ("data_files", "data_dir") if spec.kwargs.get(key)}
    if not chosen:
        return spec.name
    text = canonical_json([spec.name, chosen])
    return f"files-{hashlib.blake2b(text.encode('utf-8', 'surrogatepass'), digest_size=6).hexdigest()}"


def can_mirror(spec: DatasetSpec) -> bool:
    """Whether the spec names something on the hub (and is safe to make a path of)."""
    path, config = spec.path or "", mirror_config(spec) or "default"
    local = path in LOCAL_BUILDERS and not is_remote(spec)
    return not local and _HUB_ID.fullmatch(path) is not None and re.fullmatch(r"[^/\\.][^/\\]*", config) is not None


class Mirror:
    """A mirror folder; a DataError where it is no folder."""

    def __init__(self, root: Path) -> None:
        self.root = root
        if not root.is_dir():
            raise DataError(
                f"the mirror {root} is not a folder", hint="`lmrun data fetch MANIFEST --out DIR` makes a mirror"
            )

    @cached_property
    def manifest(self) -> dict[str, Any]:
        """The content of ``MANIFEST.json``; empty where there is none."""
        file = self.root / MANIFEST
        try:
            content = json.loads(file.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return {}
        except (OSError, ValueError) as error:
            raise DataError(f"cannot read {file}: {error}", hint="`lmrun data fetch` writes it anew") from error
        if not isinstance(content, dict):
            problem = Problem("the top level is no object", Location(file), expected='{"aliases": …, "datasets": […]}')
            raise DataError(str(problem), problems=(problem,))
        return content

    def find(self, spec: DatasetSpec) -> FileDataset | None:
        """The dataset of a spec; None where the mirror has no folder for it; a DataError for a config it has not."""
        folder = self._folder(spec)
        if folder is None:
            return None
        config = mirror_config(spec)
        found = config_folder(folder, config)
        if found is None:
            raise missing_config(str(spec.path), config, config_names(folder), self.root)
        revision = self._revision(folder.relative_to(self.root).as_posix(), found.name)
        return FileDataset(str(spec), split_files(found, MIRROR_SUFFIXES), revision=revision)

    def suggest(self, path: str) -> str | None:
        """A "did you mean" among the datasets of the mirror, also for a hub id written without its organisation."""
        known = sorted(
            "/".join(p.relative_to(self.root).parts) for p in self.root.glob("*/*") if not p.name.startswith(("_", "."))
        )
        same_name = [one for one in known if one.rpartition("/")[2] == path.rpartition("/")[2]]
        if same_name:
            return f"did you mean {same_name[0]!r}?"
        return did_you_mean(path, known)

    def _folder(self, spec: DatasetSpec) -> Path | None:
        path = str(spec.path)
        if not can_mirror(spec):
            return None
        for hub_id in (path, self.manifest.get("aliases", {}).get(path)):
            if hub_id is not None and (self.root / hub_id).is_dir():
                return self.root / hub_id
        return None

    def _revision(self, hub_id: str, config: str) -> str | None:
        for entry in self.manifest.get("datasets", ()):
            if entry.get("hub_id") == hub_id and entry.get("config") == config:
                revision = entry.get("revision")
                return None if revision is None else str(revision)
        return None
