"""Seeded fabrications: the checks catch at least 99 % of each kind, and doubt few true records."""

from collections import Counter
from collections.abc import Callable

import numpy as np
import pytest

from tests.unit.audit.reports import in_whole_sentences, sources
from wristmir_ray.audit.checks import check_record
from wristmir_ray.audit.fabrications import Fabrication, Source, fabricate
from wristmir_ray.audit.figures import seed_fabrications
from wristmir_ray.mining.rules import mine

MAX_FALSE_ALARMS = 0.02


@pytest.mark.parametrize("quoted", [lambda s: s, in_whole_sentences], ids=["tight_quotes", "whole_sentences"])
def test_fabrications_are_caught_and_true_records_trusted(
    quoted: Callable[[Source], Source], capsys: pytest.CaptureFixture[str]
) -> None:
    kept = [quoted(s) for s in sources()]
    doubted = sum(bool(check_record(s.passages, s.record, mine(s.passages.report))) for s in kept)
    figures = seed_fabrications(kept, seed=1)
    with capsys.disabled():
        print(f"\nfalse alarms {doubted} of {len(kept)};", {k: f"{f['caught']}/{f['n']}" for k, f in figures.items()})
    assert doubted / len(kept) <= MAX_FALSE_ALARMS
    assert figures["all"]["n"] >= 2_000
    assert {k: f["value"] for k, f in figures.items() if f["value"] < 0.99} == {}


def test_the_same_seed_makes_up_the_same_and_changes_one_thing() -> None:
    changed: Counter[Fabrication] = Counter()
    for source in sources()[:40]:
        for kind in Fabrication:
            first, second = (fabricate(source, kind, np.random.default_rng(7)) for _ in range(2))
            assert first == second
            if first is not None:
                assert first != source.record
                changed[kind] += 1
    assert set(changed) == set(Fabrication)


def test_quotes_alone_catch_most_where_the_second_reader_errs_alike() -> None:
    caught = tried = 0
    for at, source in enumerate(in_whole_sentences(s) for s in sources()):
        for k, kind in enumerate(Fabrication):
            made = fabricate(source, kind, np.random.default_rng((2, at, k)))
            if made is not None:
                tried += 1
                caught += bool(check_record(source.passages, made, second=made))
    assert caught / tried >= 0.97
