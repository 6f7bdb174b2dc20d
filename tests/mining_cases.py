"""The hand-written adversarial reports, and their gold records in the words of FINDINGS."""

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

DATA = Path(__file__).parent / "data"


def load(name: str) -> list[dict[str, Any]]:
    """Return one of the YAML files of `DATA`."""
    cases: list[dict[str, Any]] = yaml.safe_load((DATA / f"{name}.yaml").read_text())
    return cases


CASES = load("mining_cases")
NEWCOMER = load("mining_newcomer")
"""Misreadings that a new reader found, with their variants."""
HELD_OUT = load("mining_blind_f")
"""Written blind to the rules, which were never mended on them."""
BLIND = [c for part in "abcde" for c in load(f"mining_blind_{part}")] + HELD_OUT
"""Written blind to the rules; what these reached at first sight stands in the files."""
READABLE = [c["report"] for c in CASES if "error" not in c]
REGIONS = {"R": "distal_radius", "U": "distal_ulna", "S": "ulnar_styloid"}
PRESENCE = {"+": "present", "~": "uncertain", "0": "absent"}


def gold(case: dict[str, Any]) -> list[dict[str, str]]:
    """Return a case's findings as mappings."""
    out = []
    for line in case.get("gold", []):
        words = ["unknown" if w == "-" else w for w in line.split()] + ["unknown"] * 3
        region, presence = REGIONS.get(words[0], words[0]), PRESENCE[words[1]]
        out.append(
            dict(
                zip(
                    ("region", "presence", "fracture_type", "displacement", "healing"),
                    [region, presence, *words[2:5]],
                    strict=True,
                )
            )
        )
    if case.get("denied"):
        named = {f["region"] for f in out}
        unknown = {"fracture_type": "unknown", "displacement": "unknown", "healing": "unknown"}
        out += [{"region": r, "presence": "absent", **unknown} for r in REGIONS.values() if r not in named]
    return out


def distinct_reports(count: int) -> Iterator[str]:
    """Yield the readable reports over and over, each with a number of its own, so that no two are equal."""
    for n in range(count):
        accession = hashlib.sha256(str(n).encode()).hexdigest()[:24]
        yield f"{READABLE[n % len(READABLE)].rstrip()}\nAccession number {accession}.\n"
