"""Everything a key can do, in one table: bindings, footer, help and command palette are made from it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from textual.binding import Binding, BindingType


@dataclass(frozen=True, slots=True)
class Action:
    """One thing a user can do on a page."""

    name: str
    """Method ``action_<name>`` of the page, or of the app."""
    keys: str
    """Textual's names of keys, separated by commas."""
    label: str
    """A word or two, for the footer."""
    help: str
    """A sentence without a full stop, for the help and the palette."""
    shown: bool = False
    """Stands in the footer."""


APP = (
    Action("page('dashboard')", "1", "Dash", "Progress, devices and scores of the run"),
    Action("page('runs')", "2", "Runs", "All runs"),
    Action("page('samples')", "3", "Samples", "What the model was asked and said"),
    Action("page('compare')", "4", "Compare", "Two runs, or two models of one, side by side"),
    Action("page('manifests')", "5", "Manifests", "Check a manifest, see its plan, start it"),
    Action("page('log')", "6", "Log", "What happened, and which errors"),
    Action("last_page", "minus", "back", "The page before this one"),
    Action("palette", "ctrl+p,colon", "palette", "Find anything that can be done by its name", shown=True),
    Action("help", "question_mark,f1", "help", "What every key does here", shown=True),
    Action("theme", "f2", "theme", "Another theme: dark, light, high contrast …"),
    Action("leave", "q", "quit", "Leave; a run that goes on can be left alone or stopped", shown=True),
)

RUN = (
    Action("pause", "p", "pause", "Pause the run, or let it go on", shown=True),
    Action("faster", "plus,equals_sign", "more", "Let more requests be in flight at once"),
    Action("slower", "underscore", "fewer", "Let fewer requests be in flight at once"),
    Action("retry_errors", "E", "retry errors", "Ask again what failed, once the rest is done", shown=True),
    Action("skip_job", "X", "skip job", "Leave out what is left of this job"),
    Action("stop", "S", "stop", "Stop the run; it can be resumed"),
    Action("resume", "R", "resume", "Start an engine that goes on with this run", shown=True),
)
"""Commands to the engine. They work on the dashboard."""

TABLE = (
    Action("cursor_down", "j,down", "down", "Next row"),
    Action("cursor_up", "k,up", "up", "Previous row"),
    Action("page_down", "ctrl+d,pagedown", "page down", "A page down"),
    Action("page_up", "ctrl+u,pageup", "page up", "A page up"),
    Action("first", "g,home", "first", "First row"),
    Action("last", "G,end", "last", "Last row"),
    Action("choose", "enter", "open", "Open this row", shown=True),
)
"""Of every table."""

PAGES: Mapping[str, tuple[Action, ...]] = MappingProxyType(
    {
        "dashboard": (
            *RUN,
            Action("samples", "enter", "samples", "Samples of this job", shown=True),
            Action("filter", "slash", "filter", "Show only some jobs", shown=True),
            Action("sort", "s", "sort", "Order jobs by another column"),
            Action("errors", "e", "errors", "Errors of the run by kind", shown=True),
            Action("plots", "v", "plots", "Scores, throughput and memory as plots", shown=True),
        ),
        "runs": (
            Action("open", "enter", "open", "Open this run", shown=True),
            Action("filter", "slash", "filter", "Show only some runs", shown=True),
            Action("mark", "space", "mark", "Mark this run to compare it", shown=True),
            Action("compare", "d", "compare", "Compare the two marked runs", shown=True),
            Action("resume", "R", "resume", "Start an engine that goes on with this run", shown=True),
            Action("delete", "D", "delete", "Delete this run from the disk"),
            Action("sort", "s", "sort", "Order runs by another column", shown=True),
            Action("scroll_down", "ctrl+e", "scroll", "Scroll the detail of the run down"),
            Action("scroll_up", "ctrl+y", "scroll back", "Scroll the detail of the run up"),
        ),
        "samples": (
            Action("filter", "slash", "filter", "Filter or search: words, wrong, task:mmlu*, model:…", shown=True),
            Action("cycle", "f", "outcome", "All, wrong, right, errors, truncated, no match in turn", shown=True),
            Action("next_wrong", "J", "next ✗", "Next wrong answer", shown=True),
            Action("previous_wrong", "K", "previous ✗", "Previous wrong answer"),
            Action("next_sample", "n", "next", "Next sample, also from within one"),
            Action("previous_sample", "N", "previous", "Previous sample"),
            Action("tab_next", "right_square_bracket,tab", "view", "Next view of the sample", shown=True),
            Action("tab_previous", "left_square_bracket,shift+tab", "view back", "Previous view of the sample"),
            Action("tokens", "t", "tokens", "The prompt as tokens, with special ones and the join", shown=True),
            Action("fold", "r", "reasoning", "Unfold or fold the reasoning"),
            Action("label", "m", "label", "Put a label and a note to this sample", shown=True),
            Action("copy", "y", "curl", "Copy the request as a curl command"),
            Action("edit", "o", "editor", "Look at the whole sample in $EDITOR"),
            Action("zoom", "z", "zoom", "Only the pane with the cursor, or list and sample"),
            Action("scroll_down", "ctrl+e", "scroll", "Scroll the sample down"),
            Action("scroll_up", "ctrl+y", "scroll back", "Scroll the sample up"),
            Action("refresh", "u", "refresh", "List the samples that have come since"),
            Action("back", "escape", "back", "From the sample to the list, from some samples to all"),
        ),
        "compare": (
            Action("choose_runs", "c", "choose", "Choose the two sides", shown=True),
            Action("flip", "x", "swap", "Swap the two sides", shown=True),
            Action("quadrant", "f", "both/A/B/none", "Samples by who is right, in turn", shown=True),
            Action("filter", "slash", "filter", "Show only some tasks", shown=True),
            Action("open", "enter", "samples", "Samples of this task side by side", shown=True),
            Action("split", "v", "split", "Side by side, or one above the other"),
            Action("scroll_down", "ctrl+e", "scroll", "Scroll the outputs down"),
            Action("scroll_up", "ctrl+y", "scroll back", "Scroll the outputs up"),
            Action("back", "escape", "back", "Back to the tasks", shown=True),
        ),
        "manifests": (
            Action("open", "enter", "open", "Open this manifest", shown=True),
            Action("start", "S", "start", "Start the run, or resume it", shown=True),
            Action("edit", "e", "edit", "Open the manifest in $EDITOR", shown=True),
            Action("filter", "slash", "filter", "Show only some manifests", shown=True),
            Action("expand", "x", "plan", "Count requests, tokens and cache hits", shown=True),
        ),
        "log": (
            Action("filter", "slash", "filter", "Show only some lines", shown=True),
            Action(
                "level", "l", "level", "All lines, no details, warnings and errors, errors only in turn", shown=True
            ),
            Action("next_error", "E", "next error", "Next warning or error", shown=True),
            Action("follow", "F", "follow", "Stay at the end as lines come", shown=True),
            Action("groups", "e", "by kind", "Warnings and errors by class and status", shown=True),
            Action("back", "escape", "back", "All kinds of lines again"),
        ),
    }
)


def identifier(page: str, action: Action) -> str:
    """Name of an action in the user's configuration, e.g. ``samples.next_wrong``."""
    return f"{page}.{action.name.replace('page(', '').strip(')').strip(chr(39))}"


def bindings(page: str, actions: tuple[Action, ...] | None = None) -> list[BindingType]:
    """Bindings for a page, ``app`` or ``table``."""
    table = {"app": APP, "table": TABLE, **PAGES}[page] if actions is None else actions
    return [
        Binding(
            action.keys,
            action.name,
            action.label,
            show=action.shown,
            tooltip=action.help,
            id=identifier(page, action),
        )
        for action in table
    ]
