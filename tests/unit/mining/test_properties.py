"""What holds for every text: quotes stand in it, nothing raises, captions say what findings say."""

import random

from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.mining_cases import CASES
from wristmir_ray.anatomy import Presence
from wristmir_ray.errors import Reject
from wristmir_ray.mining.captions import captions
from wristmir_ray.mining.evidence import grounded, ungrounded
from wristmir_ray.mining.findings import Place, Record
from wristmir_ray.mining.rules import RulesEngine
from wristmir_ray.mining.stages import validated

REPORTS = [c["report"] for c in CASES]
ENGINE = RulesEngine()

MARKS = ["\n", "\n\n", "?", "#", "(", ")", ":", "-", "–", "\x00", "İ", "ﬁ"]
WORDS = [*sorted({w for r in REPORTS for w in r.split(" ")}), *MARKS]
wordy = st.lists(st.sampled_from(WORDS), max_size=60).map(" ".join)
spliced = st.lists(st.sampled_from(REPORTS), min_size=1, max_size=3).map("\n".join)


def read(text: str, engine: RulesEngine = ENGINE) -> Record | None:
    try:
        return engine.mine(text)
    except Reject:
        return None


@settings(max_examples=300)
@given(st.one_of(st.text(max_size=300), wordy, spliced))
@example("no " * 5000 + "fracture of the distal radius")
@example("radius, " * 2000 + "fracture")
@example("(" * 3000 + "wrist")
@example("Wrist. " + "a" * 50_000)
@example("Left forearm, 2 views. There is an acute fracture. Distal humerus included on the image.")
@example("Left wrist. A fracture is seen. Medial epicondyle.")
def test_every_quote_stands_in_the_report_and_the_record_holds_its_schema(text: str) -> None:
    record = read(text)
    if record is not None:
        assert ungrounded(text, record) == 0
        assert validated(record, text) == record
        assert grounded(record) == record


@given(wordy)
def test_a_place_is_present_or_absent_but_not_both(text: str) -> None:
    record = read(text)
    for place in Place:
        for side in (None, "left", "right"):
            said = {f.presence for f in record.findings if f.region is place and f.side == side} if record else set()
            assert Presence.ABSENT not in said or len(said) == 1


@given(st.one_of(wordy, spliced), st.sampled_from([None, "left", "right"]))
def test_a_caption_names_a_fracture_only_where_a_grounded_finding_has_one(text: str, side: str | None) -> None:
    record = read(text)
    if record is None:
        return
    kept = [f for f in record.findings if f.grounded and (side is None or f.side in (None, side))]
    there = {f.region for f in kept if f.presence is not Presence.ABSENT}
    for caption in captions(record, side, "pa"):
        named = {
            p
            for p in Place
            if f"fracture in the {p.words if p is not Place.CARPALS else 'carpal bones'}" in caption.text
        }
        assert named <= there
        own = there if caption.region.value == "wrist" else {p for p in there if p.value == caption.region.value}
        assert named == own
        assert ("no fracture" in caption.text) == (not own)


@given(spliced, st.randoms(use_true_random=False))
def test_captions_do_not_depend_on_the_order_of_the_findings(text: str, order: random.Random) -> None:
    record = read(text)
    if record is None:
        return
    first = [f for f in record.findings if len([g for g in record.findings if g.region is f.region]) == 1]
    shuffled = order.sample(first, len(first))
    one, other = (
        record.model_copy(update={"findings": tuple(first)}),
        record.model_copy(update={"findings": tuple(shuffled)}),
    )
    texts = [[c.text.split(". ")[0] for c in captions(r, None, "pa")] for r in (one, other)]
    assert texts[0] == texts[1]


@given(spliced)
def test_reading_is_deterministic_whatever_was_read_before(text: str) -> None:
    assert read(text) == read(text, RulesEngine())
