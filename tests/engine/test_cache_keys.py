"""An answer is asked for once, whatever the task is called and however its docs are ordered and batched."""

from __future__ import annotations

import json

from tests.engine.conftest import SPEECH, World, complete


def test_names_ids_order_and_batches_are_no_part_of_a_key(world: World) -> None:
    assert complete(world.run(world.manifest(world.stub(), tasks='[[tasks]]\nname = "speech"\n')))
    asked = world.calls()
    assert len(set(asked)) == len(asked) == 10
    rows = (world.folder / "tasks/colours.jsonl").read_text().splitlines()
    rows.insert(3, json.dumps({"question": "another colour?", "answer": 1}))
    (world.folder / "tasks/turned.jsonl").write_text("\n".join(reversed(rows)))
    turned = SPEECH.replace("task: speech", "task: turned").replace("colours.jsonl", "turned.jsonl")
    (world.folder / "tasks/turned.yaml").write_text(turned)
    assert complete(world.run(world.manifest(world.stub(chunk=3), tasks='[[tasks]]\nname = "turned"\n')))
    assert len(world.calls()) == 11
    # What can change an answer asks again.
    for change in ("generation = { max_gen_toks = 9 }", 'system_instruction = "Be brief."', "num_fewshot = 1"):
        before = len(world.calls())
        world.run(world.manifest(world.stub(), tasks=f'[[tasks]]\nname = "speech"\n{change}\n'))
        assert len(world.calls()) == before + 10
