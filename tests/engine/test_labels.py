"""No setting of a task is lost, whichever way it is asked for, and each has a name of its own."""

from __future__ import annotations

import pytest

from lmrun.errors import TaskError
from lmrun.store.reader import RunReader
from tests.engine.conftest import World, complete

GROUP = "group: both\ntask: [colours, speech]\naggregate_metric_list: [{metric: acc}]\n"


def labels(world: World, tasks: str) -> list[str]:
    """Labels of the jobs that a manifest with these ``[[tasks]]`` runs."""
    (world.folder / "tasks" / "both.yaml").write_text(GROUP)
    outcome = world.run(world.manifest(world.stub(), tasks=tasks))
    assert complete(outcome)
    return [job.label for job in RunReader(outcome.directory).jobs()]


@pytest.mark.parametrize(
    ("tasks", "expected"),
    [
        ('[[tasks]]\nname = "both"', ["colours", "speech"]),
        ('[[tasks]]\nname = "both"\n[[tasks]]\nname = "colours"', ["colours", "speech"]),
        (
            '[[tasks]]\nname = "both"\n[[tasks]]\nname = "speech"\napply_chat_template = true',
            ["colours", "speech", "speech@apply_chat_template=true"],
        ),
        (
            '[[tasks]]\nname = "colours"\nlimit = [2, 4]\n[[tasks]]\nname = "speech"\nlimit = 3',
            ["colours@limit=2", "colours@limit=4", "speech"],
        ),
        (
            '[[tasks]]\nname = "both"\nlimit = [2, 4]',
            ["colours@limit=2", "speech@limit=2", "colours@limit=4", "speech@limit=4"],
        ),
    ],
)
def test_every_setting_has_a_job(world: World, tasks: str, expected: list[str]) -> None:
    assert labels(world, tasks + "\n") == expected


def test_two_tasks_of_one_name_are_refused(world: World) -> None:
    task = (world.folder / "tasks" / "colours.yaml").read_text()
    (world.folder / "other").mkdir()
    (world.folder / "other" / "x.yaml").write_text(
        task.replace("Q: ", "Question: ").replace("colours.jsonl", "../tasks/colours.jsonl")
    )
    tasks = '[[tasks]]\nname = "colours"\n[[tasks]]\nname = "other/x.yaml"\n'
    with pytest.raises(TaskError) as caught:
        world.run(world.manifest(world.stub(), tasks=tasks))
    assert "another task 'colours' is selected already" in str(caught.value.problems[0])
