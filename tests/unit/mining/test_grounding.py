"""Quotes and where they stand."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wristmir_ray.mining.grounding import Locator

REPORT = (
    "INDICATION: Rule out distal radius fracture.\n"
    "FINDINGS: Healing  BUCKLE\nfracture of the distal radius. The ulnar styloid is intact. Größe 3 °."
)


@pytest.mark.parametrize(
    ("quote", "expected"),
    [
        ("distal radius", "distal radius"),
        ("healing buckle fracture", "Healing  BUCKLE\nfracture"),
        ("BUCKLE fracture", "BUCKLE\nfracture"),
        ("größe 3", "Größe 3"),
        ("3 °", "3 °"),
        ("  intact ", "intact"),
    ],
)
def test_a_quote_is_found_but_for_case_and_white_space(quote: str, expected: str) -> None:
    span = Locator(REPORT).find(quote)
    assert span
    assert REPORT[slice(*span)] == expected


@pytest.mark.parametrize(
    "quote", ["ulna", "buckle fractures", "distal  radial", "", " ", "fracture of the radius", "styl"]
)
def test_what_does_not_stand_there_is_not_found(quote: str) -> None:
    assert Locator(REPORT).find(quote) is None


def test_the_findings_win_over_the_indication() -> None:
    locator = Locator(REPORT)
    span = locator.find("distal radius")
    assert span
    assert span[0] > REPORT.index("FINDINGS")
    assert locator.section(span[0]) == "findings"
    assert locator.section(REPORT.index("Rule out")) == "indication"


@given(st.text(alphabet="aB ß\n.İ-1", max_size=40), st.data())
def test_every_span_is_a_part_of_the_report_that_reads_as_the_quote(report: str, data: st.DataObject) -> None:
    start = data.draw(st.integers(0, len(report)))
    quote = report[start : data.draw(st.integers(start, len(report)))]
    span = Locator(report).find(quote)
    if span is not None:
        part = report[slice(*span)]
        assert " ".join(part.casefold().split()) == " ".join(quote.casefold().split())
    inside = start > 0 and report[start - 1 : start].isalnum() and quote[:1].isalnum()
    end = start + len(quote)
    cut = report[end : end + 1].isalnum() and quote[-1:].isalnum()
    if quote.strip() and not inside and not cut:
        assert span is not None
