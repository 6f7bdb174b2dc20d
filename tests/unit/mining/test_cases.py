"""Hand-written adversarial reports: what the rules engine reads in each."""

from typing import Any

import pytest

from tests.mining_cases import BLIND, CASES, NEWCOMER, gold, load
from wristmir_ray.errors import Reject
from wristmir_ray.mining.rules import mine
from wristmir_ray.mining.scoring import findings_f1


@pytest.mark.parametrize("case", [c for c in CASES + NEWCOMER if "error" not in c], ids=lambda c: c["name"])
def test_findings_of_a_hand_written_report(case: dict[str, Any]) -> None:
    found = [f.model_dump(mode="json") for f in mine(case["report"]).findings]
    names = ("region", "presence", "fracture_type", "displacement", "healing")
    assert sorted(tuple(f[n] for n in names) for f in found) == sorted(tuple(f[n] for n in names) for f in gold(case))
    if "sides" in case:
        assert sorted(f["side"] for f in found) == sorted(case["sides"])
    if "alignments" in case:
        assert sorted(f["alignment"] for f in found if f["alignment"]) == sorted(case["alignments"])


@pytest.mark.parametrize("case", [c for c in CASES if "error" in c], ids=lambda c: c["name"])
def test_a_report_that_says_nothing_of_a_wrist_is_refused(case: dict[str, Any]) -> None:
    with pytest.raises(Reject) as caught:
        mine(case["report"])
    assert caught.value.code == case["error"]
    assert not case["report"].strip() or case["report"].strip() not in str(caught.value)


def test_there_are_enough_cases_and_they_score_as_a_whole() -> None:
    good = [c for c in CASES if "error" not in c]
    assert len(CASES) >= 250
    found = [[f.model_dump(mode="json") for f in mine(c["report"]).findings] for c in good]
    assert findings_f1(found, [gold(c) for c in good])["f1"] >= 0.98


def test_blind_reports_are_read_but_for_those_that_are_marked_as_misread() -> None:
    names = ("region", "presence", "fracture_type", "displacement", "healing")

    def said(findings: list[dict[str, Any]]) -> list[tuple[str, ...]]:
        return sorted(tuple(f[n] for n in names) for f in findings)

    read = {c["name"]: [f.model_dump(mode="json") for f in mine(c["report"]).findings] for c in BLIND}
    assert len(read) == len(BLIND) >= 920
    wrong = {c["name"] for c in BLIND if said(read[c["name"]]) != said(gold(c))}
    assert wrong == {c["name"] for c in BLIND if c.get("misread")}
    assert findings_f1(list(read.values()), [gold(c) for c in BLIND])["f1"] >= 0.95


SENTENCES = load("mining_sentences")


@pytest.mark.parametrize(("sentence", "said"), SENTENCES)
def test_findings_of_a_single_sentence(sentence: str, said: str) -> None:
    names = ("region", "presence", "fracture_type", "displacement", "healing")
    found = [f.model_dump(mode="json") for f in mine(f"Wrist. {sentence}").findings]
    expected = gold({"gold": said.split(", ")}) if said else []
    assert sorted(tuple(f[n] for n in names) for f in found) == sorted(tuple(f[n] for n in names) for f in expected)
