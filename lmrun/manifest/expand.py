"""From the entries of a manifest to models and task settings: matrix axes, defaults, and what cannot go together."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import product
from pathlib import PurePath
from typing import Any

from lmrun.errors import Problem
from lmrun.manifest.backends import OWN_KEYS
from lmrun.manifest.include import default_name
from lmrun.manifest.model import ModelEntry, TaskSetting
from lmrun.manifest.model_tables import ModelItem
from lmrun.manifest.problems import shown
from lmrun.manifest.schema import Defaults, TaskEntry
from lmrun.manifest.tree import Node


def expand_models(entries: Sequence[ModelItem], nodes: Sequence[Node]) -> tuple[tuple[ModelEntry, ...], list[Problem]]:
    """Every model that ``entries`` stand for, in the order written; the last axis of an entry varies fastest."""
    models: list[ModelEntry] = []
    problems: list[Problem] = []
    owners: dict[str, Node] = {}
    for entry, node in zip(entries, nodes, strict=True):
        values = entry.model_dump(exclude_none=True)
        for chosen, variant in _variants(values, list(node.table())):
            model = _model(variant, chosen, node)
            models.append(model)
            owner = owners.get(model.name)
            if owner is None:
                owners[model.name] = node
            elif not node.faulty & {"name", "model"}:
                problems.append(_same_name(model.name, node, owner))
        problems += _placement(values, node)
    return tuple(models), problems


def expand_tasks(
    entries: Sequence[TaskEntry], nodes: Sequence[Node], defaults: Defaults, defaults_node: Node | None
) -> tuple[tuple[TaskSetting, ...], list[Problem]]:
    """Every task setting that ``entries`` stand for, with ``defaults`` filled in."""
    tasks: list[TaskSetting] = []
    problems: list[Problem] = []
    common = defaults.model_dump(exclude_none=True)
    for entry, node in zip(entries, nodes, strict=True):
        own = entry.model_dump(exclude_none=True)
        values = {**common, **own}
        for table in ("generation", "metadata"):
            if table in common and table in own:
                values[table] = {**common[table], **own[table]}
        settings = [_task(variant, node) for _, variant in _variants(values, [*node.table(), *common])]
        faulty = node.faulty | (defaults_node.faulty if defaults_node else set())
        if not faulty & {"apply_chat_template", "fewshot_as_multiturn"}:
            problems += _multiturn(settings, node, defaults_node)
        if not faulty:
            problems += _repeated(settings, tasks, node)
        tasks += settings
    return tuple(tasks), problems


def _variants(values: Mapping[str, Any], order: Sequence[str]) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    """Every combination of the list-valued keys, in written order: what was chosen, and all values with it."""
    axes = [key for key in dict.fromkeys(order) if isinstance(values.get(key), list)]
    for combination in product(*(values[key] for key in axes)):
        chosen = dict(zip(axes, combination, strict=True))
        yield chosen, {**values, **chosen}


def _model(variant: Mapping[str, Any], chosen: Mapping[str, Any], node: Node) -> ModelEntry:
    options = {key: value for key, value in variant.items() if key not in ("name", "backend", "model")}
    named = "name" in variant
    axes = {key: value for key, value in chosen.items() if named or key != "model"}
    suffix = ",".join(f"{key}={_label(value)}" for key, value in axes.items())
    name = variant["name"] if named else default_name(variant["model"])
    return ModelEntry(
        name=f"{name}[{suffix}]" if suffix else name,
        backend=variant["backend"],
        model=variant["model"],
        options=options if variant["backend"] in OWN_KEYS else options["options"],
        location=node.place.value,
    )


def _label(value: Any) -> str:
    """Short form of an axis value for a name: paths by their last part."""
    text = value if isinstance(value, str) else shown(value)
    return PurePath(text).name if PurePath(text).is_absolute() else text


def _task(variant: Mapping[str, Any], node: Node) -> TaskSetting:
    return TaskSetting(**variant, location=node.place.value)


def _same_name(name: str, node: Node, owner: Node) -> Problem:
    place = node.table()["name"].place if "name" in node.table() else node.place
    if owner is node:
        return place.problem(f"an axis of `{name}` lists a value twice", expected="each value once")
    where = f" (the other is at {owner.place.value})" if owner.place.value else ""
    hint = None if "name" in node.table() else "without a `name`, a model is called by the last part of its id: add one"
    return place.problem(
        f"two models are called `{name}`{where}", expected="a name of its own for every model", hint=hint
    )


def _placement(values: Mapping[str, Any], node: Node) -> Iterator[Problem]:
    if "device_map" in values and values.get("device", "auto") != "auto" and not node.faulty & {"device", "device_map"}:
        yield node.table()["device_map"].place.problem(
            "`device` and `device_map` both say where the model goes",
            expected="one of the two",
            hint="device_map spreads a model over several devices; device puts it on one",
            at_key=True,
        )


def _multiturn(settings: Sequence[TaskSetting], node: Node, defaults: Node | None) -> Iterator[Problem]:
    if not any(setting.fewshot_as_multiturn and not setting.apply_chat_template for setting in settings):
        return
    written = node.get("fewshot_as_multiturn") or (defaults.get("fewshot_as_multiturn") if defaults else None)
    yield (written or node).place.problem(
        f"{_named(node)}: `fewshot_as_multiturn = true` without a chat template: there are no turns to put examples in",
        expected="`apply_chat_template = true` with it",
        hint="leave fewshot_as_multiturn out: it is on wherever a chat template is applied",
        at_key=True,
    )


def _repeated(settings: Sequence[TaskSetting], before: Sequence[TaskSetting], node: Node) -> Iterator[Problem]:
    for index, setting in enumerate(settings):
        if setting in settings[:index]:
            yield node.place.problem(f"an axis of `{setting.name}` lists a value twice", expected="each value once")
        elif setting in before:
            first = before[before.index(setting)].location
            where = f" (first at {first})" if first else ""
            yield node.place.problem(
                f"`{setting.name}` is here twice with the same settings{where}",
                expected="each task once, or with different settings",
            )


def _named(node: Node) -> str:
    return shown(node.table()["name"].plain())
