"""Writes ``ifeval.json``: what lm-eval 0.4.13 makes of many responses, for ``tests/library/test_ifeval.py``.

Run it with a Python that has lm-eval 0.4.13, langdetect, immutabledict and nltk 3.9 with its data ``punkt_tab``, and no
lmrun (nltk 3.10 counts words by other rules in scripts with vowel signs, such as Hindi's)::

    python tests/golden/make_ifeval_golden.py

The responses are drawn from a fixed seed. Languages are detected with a fixed seed as well, which lm-eval itself does not.
"""

import json
import logging
import random
from pathlib import Path

import langdetect
from lm_eval.tasks.ifeval import utils
from lm_eval.tasks.ifeval.instructions_registry import INSTRUCTION_DICT

logging.disable()
rnd = random.Random(20260301)
langdetect.DetectorFactory.seed = 0

AT_LEAST, LESS = "at least", "less than"
REQUEST = "Write a note on rivers.  Be brief."
INSTRUCTIONS = [
    *(("keywords:existence", {"keywords": words}) for words in (["river"], ["river", "sea"], ["S.a", "boat"])),
    *(
        ("keywords:frequency", {"keyword": word, "frequency": n, "relation": relation})
        for word, n, relation in (("river ", 2, AT_LEAST), ("river", 3, LESS), ("e", 9, AT_LEAST), ("a.", 4, LESS))
    ),
    *(("keywords:forbidden_words", {"forbidden_words": words}) for words in (["sea"], ["boat", "boats"], ["i", "a"])),
    *(
        ("keywords:letter_frequency", {"letter": letter, "let_frequency": n, "let_relation": relation})
        for letter, n, relation in (("E", 8, AT_LEAST), ("r", 4, LESS), ("o", 1, LESS), ("w", 2, AT_LEAST))
    ),
    *(("language:response_language", {"language": code}) for code in ("en", "de", "ru", "hi", "pt", "ko")),
    *(
        ("length_constraints:number_sentences", {"num_sentences": n, "relation": relation})
        for n, relation in ((2, AT_LEAST), (4, LESS), (7, AT_LEAST))
    ),
    *(("length_constraints:number_paragraphs", {"num_paragraphs": n}) for n in (1, 2, 3)),
    *(
        ("length_constraints:number_words", {"num_words": n, "relation": relation})
        for n, relation in ((8, AT_LEAST), (30, LESS), (60, AT_LEAST))
    ),
    *(
        (
            "length_constraints:nth_paragraph_first_word",
            {"num_paragraphs": n, "nth_paragraph": nth, "first_word": word},
        )
        for n, nth, word in ((1, 1, "the"), (2, 1, "River"), (2, 2, "well"), (2, 2, "tis"), (3, 2, "no"))
    ),
    *(("detectable_content:number_placeholders", {"num_placeholders": n}) for n in (1, 2, 3)),
    *(("detectable_content:postscript", {"postscript_marker": mark}) for mark in ("P.S.", "P.P.S", "Note:", " P.S. ")),
    *(("detectable_format:number_bullet_lists", {"num_bullets": n}) for n in (1, 2, 3)),
    ("detectable_format:constrained_response", {}),
    *(("detectable_format:number_highlighted_sections", {"num_highlights": n}) for n in (1, 2, 4)),
    *(
        ("detectable_format:multiple_sections", {"section_spliter": word, "num_sections": n})
        for word, n in (("Section", 1), ("SECTION ", 2), ("Day", 2), ("Section", 3))
    ),
    ("detectable_format:json_format", {}),
    ("detectable_format:title", {}),
    ("combination:two_responses", {}),
    ("combination:repeat_prompt", {"prompt_to_repeat": REQUEST}),
    *(("startend:end_checker", {"end_phrase": phrase}) for phrase in ("Any other questions?", " the END ")),
    *(
        ("change_case:capital_word_frequency", {"capital_frequency": n, "capital_relation": relation})
        for n, relation in ((1, AT_LEAST), (3, LESS), (5, AT_LEAST))
    ),
    ("change_case:english_capital", {}),
    ("change_case:english_lowercase", {}),
    ("punctuation:no_comma", {}),
    ("startend:quotation", {}),
]
assert {name for name, _ in INSTRUCTIONS} == set(INSTRUCTION_DICT)

SENTENCES = (
    "The river runs to the sea.",
    "River boats carry grain, salt and wood.",
    "Well, Dr. Ames of St. Ives saw it at 5 p.m. on Sat. the 3rd!",
    "No one knows the U.S. map by heart?",
    "It is 3.5 km wide... and e.g. two boats fit (just).",
    "'Tis a quiet place; \"so quiet,\" he said.",
    "THE BIG BEND is what WE CALL IT.",
    "Mr. O'Neil et al. wrote: \"Leave!\" Then he left.",
    "Visit example.org or write to [name] at [address].",
    "My answer is maybe.",
    "Der Fluss ist sehr lang und fließt durch viele Städte.",
    "Река течёт через город и впадает в море.",
    "नदी शहर के बीच से बहती है।",
    "O rio corre devagar até ao mar.",
    "강은 바다로 흘러간다. 물은 맑다.",
    "12 345 — 67 %!",
    "a small boat drifts by",
)
PIECES = (
    "* one",
    "*two*",
    "** three **",
    "- four",
    "  - *five",
    "**",
    "***",
    "******",
    "* ",
    "<<A title>>",
    "<< >>",
    "<title>",
    "Section 1",
    "SECTION 2",
    "Day1 ",
    "Section X",
    "P.S. Bring a coat.",
    "p. p.s. and a hat",
    "P.P.S Hat.",
    "note: done",
    "[a] [b\nc] []",
    "any other questions? ",
    "The end",
    '"The END"',
    '{"a": [1, 2]}',
    "```json\n{}\n```",
    "```JSON 1```",
    '"',
    ",",
    "",
)
LISTS, SECTIONS = PIECES[:5], PIECES[12:16]
JOINS = (" ", "\n", "\n\n", "\n\n\n", " *** ", "******", "\n***\n", "\n\n \n\n")


def response():
    if rnd.random() < 0.15:
        return rnd.choice((*PIECES, *SENTENCES, " \n", "My answer is no.", f"  {REQUEST}\n\nRivers are long."))
    text = ""
    for _ in range(rnd.choice((1, 1, 2, 2, 3, 5, 9))):
        run = " ".join(rnd.choices(SENTENCES, k=rnd.choice((1, 1, 2, 3))))
        alike = rnd.choice((PIECES, LISTS, LISTS, SECTIONS))
        pieces = "\n".join(rnd.choices(alike, k=rnd.choice((1, 1, 2, 3, 5))))
        text += rnd.choice((run, run, run, pieces)) + rnd.choice(JOINS)
    change = rnd.choice((str, str, str, str, str.strip, str.strip, str.upper, str.lower, lambda t: f'"{t.strip()}"'))
    return change(text)


def main():
    responses = list(dict.fromkeys(response() for _ in range(420)))
    names, kwargs = zip(*INSTRUCTIONS, strict=True)
    doc = {"key": 1, "prompt": REQUEST, "instruction_id_list": list(names), "kwargs": list(kwargs)}
    found = [utils.process_results(doc, [text]) for text in responses]
    bits = [
        ["".join(str(int(v)) for v in item[f"inst_level_{kind}_acc"]) for kind in ("strict", "loose")] for item in found
    ]
    golden = {
        "instructions": [{"id": name, "kwargs": given} for name, given in INSTRUCTIONS],
        "responses": [
            {"text": text, "strict": strict, "loose": loose} for text, (strict, loose) in zip(responses, bits, strict=True)
        ],
    }
    text = json.dumps(golden, ensure_ascii=False, indent=0)
    Path(__file__).with_name("ifeval.json").write_text(text + "\n", encoding="utf-8")
    for at, (name, given) in enumerate(INSTRUCTIONS):
        share = sum(strict[at] == "1" for strict, _ in bits)
        print(f"{name} {given}: {share} of {len(bits)}")


if __name__ == "__main__":
    main()
