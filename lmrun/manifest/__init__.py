"""Manifests: TOML that names models, backends, tasks and settings, checked before anything loads."""

from lmrun.manifest.load import load_manifest
from lmrun.manifest.model import (
    Data,
    Decontaminate,
    Defaults,
    Manifest,
    ModelEntry,
    Run,
    TaskSetting,
    TasksPath,
    manifest_hash,
)
from lmrun.manifest.schema import json_schema

__all__ = [
    "Data",
    "Decontaminate",
    "Defaults",
    "Manifest",
    "ModelEntry",
    "Run",
    "TaskSetting",
    "TasksPath",
    "json_schema",
    "load_manifest",
    "manifest_hash",
]
