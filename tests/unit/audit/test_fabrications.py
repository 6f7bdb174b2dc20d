"""Seeded fabrications: 99 % are caught of what is not certain by construction, and few true records doubted."""

from collections import Counter
from collections.abc import Callable

import numpy as np
import pytest

from tests.unit.audit.reports import in_whole_sentences, sources
from wristmir_ray.audit import checks
from wristmir_ray.audit.checks import check_record
from wristmir_ray.audit.fabrications import Fabrication, Source, fabricate
from wristmir_ray.audit.figures import ALL, seed_fabrications
from wristmir_ray.audit.pages import audit_page
from wristmir_ray.audit.values import values
from wristmir_ray.mining.rules import mine

MAX_FALSE_ALARMS = 0.02
HEADLINE = 0.99
EACH = 0.95
"""What each kind must reach by itself where nothing is certain."""
CERTAIN = {"invented_quote", "shifted_span"}
"""Kinds that leave no quote standing."""


@pytest.mark.parametrize("quoted", [lambda s: s, in_whole_sentences], ids=["tight_quotes", "whole_sentences"])
def test_fabrications_are_caught_and_true_records_trusted(
    quoted: Callable[[Source], Source], capsys: pytest.CaptureFixture[str]
) -> None:
    kept = [quoted(s) for s in sources()]
    doubted = sum(bool(check_record(s.passages, s.record, mine(s.passages.report))) for s in kept)
    figures = seed_fabrications(kept, seed=1, own=True)
    hard = {k: f["not_certain"] for k, f in figures.items()}
    with capsys.disabled():
        shown = {k: f"{f['caught']}/{f['n']}, {hard[k]['caught']}/{hard[k]['n']}" for k, f in figures.items()}
        print(f"\nfalse alarms {doubted} of {len(kept)}; all, not certain:", shown)
    assert doubted / len(kept) <= MAX_FALSE_ALARMS
    assert figures[ALL]["n"] >= 2_500
    assert {k: f["value"] for k, f in figures.items() if f["value"] < HEADLINE} == {}
    assert {k for k, f in hard.items() if not f["n"]} == CERTAIN
    assert hard[ALL]["n"] >= 1_500
    assert hard[ALL]["value"] >= HEADLINE
    assert {k: f["value"] for k, f in hard.items() if f["n"] >= 20 and f["value"] < EACH} == {}


def test_checks_that_read_no_quote_keep_what_is_certain_and_lose_the_headline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checks, "_supported", lambda *_: True)
    own, other = (seed_fabrications(sources()[:60], seed=1, own=o) for o in (True, False))
    assert {own[k]["value"] for k in (*CERTAIN, "invented_finding", "flipped_presence")} == {1.0}
    assert own["swapped_value"]["not_certain"]["value"] < 0.5
    assert own[ALL]["not_certain"]["value"] < 0.6
    assert own[ALL]["not_certain"]["n"] == other[ALL]["not_certain"]["n"]
    assert own[ALL]["not_certain"]["caught"] < other[ALL]["not_certain"]["caught"], "another reader is a check"


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


def test_a_changed_quote_is_placed_as_an_engines_is() -> None:
    lost = standing = 0
    for at, source in enumerate(sources()):
        made = fabricate(source, Fabrication.CHANGED_WORD, np.random.default_rng(at))
        assert made is not None
        pairs = zip(values(source.record), values(made), strict=True)
        (new,) = [e for old, changed in pairs if old.quotes != changed.quotes for e in changed.quotes]
        span = source.passages.locator.find(new.quote)
        assert (new.start, new.end) == (span or (-1, -1))
        lost += span is None
        standing += span is not None
    assert lost > 100
    assert standing > 20


def test_an_invented_value_has_a_true_quote() -> None:
    for source in sources()[:60]:
        made = fabricate(source, Fabrication.INVENTED_VALUE, np.random.default_rng(3))
        assert made is not None
        stated = {(v.finding, v.field) for v in values(source.record)}
        (value,) = [v for v in values(made) if (v.finding, v.field) not in stated]
        assert all(source.passages.report[e.start : e.end] == e.quote for e in value.quotes)


def test_the_page_says_what_is_certain() -> None:
    counts = {"reports": 9, "rejected": 0, "values": 9, "quotes": 9, "ungrounded_share": 0.0}
    plain = {**counts, "trusted": 9, "trusted_share": 1.0, "fields": {}, "report_kinds": {}, "disagree": {}}
    for engine, own in (("rules", True), ("http", False)):
        seeded = seed_fabrications(sources()[:9], seed=1, own=own)
        page = audit_page({**plain, "engines": {engine: 9}, "seed": 1, "sample": 9, "fabrications": seeded})
        assert ("these records being its own" in page) == own
        headline = f"**{100 * seeded[ALL]['not_certain']['value']:.1f} % ["
        assert f"Caught of what is not certain: {headline}" in page
        assert "| invented quote | 9 | 9 |" in page
