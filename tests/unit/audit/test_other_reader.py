"""The audit on another reader's records: answers to 80 reports, written by the prompt, without sight of the rules.

At first sight 14 of the records were doubted and 530 of 536 fabrications caught, those included that are caught for
certain; the vocabulary was mended since. One of the four that are still doubted is the reader's own slip (`apex volar`
is dorsal angulation).
"""

import json

import pytest

from tests.mining_cases import DATA, load
from wristmir_ray.audit.checks import check_record
from wristmir_ray.audit.fabrications import Source
from wristmir_ray.audit.figures import ALL, seed_fabrications
from wristmir_ray.audit.passages import Passages
from wristmir_ray.mining.answers import read_answer
from wristmir_ray.mining.evidence import ungrounded
from wristmir_ray.mining.findings import Record
from wristmir_ray.mining.rules import mine

SEEDS = range(3)
REPORTS = {c["name"]: c["report"] for c in load("mining_blind_a")}


def records() -> list[tuple[str, Record]]:
    lines = [json.loads(x) for x in (DATA / "mining_answers.jsonl").read_text().splitlines()]
    texts = [(REPORTS[x["name"]], x["answer"]) for x in lines]
    return [(text, read_answer(json.dumps(answer), "stop", text)) for text, answer in texts]


def test_true_records_are_mostly_trusted_and_what_is_made_up_in_them_is_caught(
    capsys: pytest.CaptureFixture[str],
) -> None:
    doubted, sources = 0, []
    for text, record in records():
        assert ungrounded(text, record) == 0
        sources.append(Source(Passages(text), record))
        doubted += bool(check_record(sources[-1].passages, record, mine(text)))
    drawn = [seed_fabrications(sources, seed, own=False) for seed in SEEDS]
    totals = {k: [sum(f[k][n] for f in drawn) for n in ("caught", "n")] for k in drawn[0]}
    hard = {k: [sum(f[k]["not_certain"][n] for f in drawn) for n in ("caught", "n")] for k in drawn[0]}
    with capsys.disabled():
        shown = {k: f"{c}/{n}, {hard[k][0]}/{hard[k][1]}" for k, (c, n) in totals.items()}
        print(f"\ntrue records doubted: {doubted} of 80; fabrications caught, all and not certain:", shown)
    assert doubted <= 4
    assert hard[ALL][1] >= 1_000
    assert hard[ALL][0] >= 0.99 * hard[ALL][1]
    assert {k for k, (c, n) in hard.items() if c < 0.98 * n} == set()
