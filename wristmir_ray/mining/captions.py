"""Captions by the two templates of the paper (WristMIR Appendix H), deterministic.

    H.1  [Side] wrist X-ray ([View] view) showing [Fracture Details]. [Additional Findings].
         Left wrist X-ray (PA view) showing Salter-Harris fracture in the distal radius, currently in healing stage.
    H.2  [Region Name] region showing [Fracture Details].
         Ulnar styloid region showing fracture in the ulnar styloid, with displacement (mild).

Assembly, where the paper is silent:

- One fracture: `[possible ][type ]fracture in the [place][, with displacement (degree)][, currently in healing stage]`.
  Stages: healing `, currently in healing stage`; acute `, currently in acute stage`; healed `, healed`;
  nonunion `, with nonunion`. Displacement: a degree `, with displacement (mild)`; no degree
  `, with displacement`; none `, without displacement`. An uncertain finding begins with `possible`.
- Several fractures: joined by `; `, in the order radius, ulna, styloid, then other bones; equal phrases once.
- A report that denies, or an exam whose report names no fracture: `no fracture`.
- A bone that the report denies or does not mention: `[Region Name] region showing no fracture.`
- Additional findings, whole wrist only, in this order and each once: alignment (`Near-anatomic
  alignment.`), `Cast in place.` or `Splint in place.`, `Orthopaedic hardware in place.`, `Osteopenia.`
- Side: the exam's; else the report's; else the caption begins with `Wrist X-ray`. View: the exam's;
  without one there is no bracket. Findings of the other wrist are left out.
- Ossification and other findings (swelling, effusion, ...) stay out: each would part captions that are one
  positive of the loss (Eq. 2), and most of them show in no bone's crop.
- Only what stands as a quote in the report comes into a caption, value by value (`evidence.grounded`).
"""

from collections.abc import Sequence
from dataclasses import dataclass

from wristmir_ray.anatomy import BONES, Displacement, FractureType, Healing, Presence, Region
from wristmir_ray.mining.evidence import grounded
from wristmir_ray.mining.findings import Finding, Place, Record

_TYPES = {
    FractureType.SALTER_HARRIS: "Salter-Harris",
    FractureType.SALTER_HARRIS_I: "Salter-Harris I",
    FractureType.SALTER_HARRIS_II: "Salter-Harris II",
    FractureType.SALTER_HARRIS_III: "Salter-Harris III",
    FractureType.SALTER_HARRIS_IV: "Salter-Harris IV",
    FractureType.SALTER_HARRIS_V: "Salter-Harris V",
}
_STAGES = {
    Healing.ACUTE: ", currently in acute stage",
    Healing.HEALING: ", currently in healing stage",
    Healing.HEALED: ", healed",
    Healing.NONUNION: ", with nonunion",
    Healing.UNKNOWN: "",
}
_DISPLACED = {
    Displacement.NONE: ", without displacement",
    Displacement.PRESENT: ", with displacement",
    Displacement.UNKNOWN: "",
}
_NAMES = {Place.FOREARM: "forearm", Place.CARPALS: "carpal bones", Place.METACARPALS: "metacarpals"}
_RANK = {Presence.PRESENT: 2, Presence.UNCERTAIN: 1, Presence.ABSENT: 0}


@dataclass(frozen=True)
class Caption:
    """One exam x region: its text and its labels (DESIGN: definitions). `presence` None = not mentioned."""

    region: Region
    text: str
    presence: Presence | None
    fracture_type: FractureType | None
    healing: Healing | None


def fracture_phrase(finding: Finding) -> str:
    """Return the fracture details of one finding that is present or uncertain."""
    kind = _TYPES.get(finding.fracture_type, finding.fracture_type.value.replace("_", " "))
    words = [
        "possible" if finding.presence is Presence.UNCERTAIN else "",
        "" if finding.fracture_type is FractureType.UNKNOWN else kind,
        "fracture in the",
        _NAMES.get(finding.region, finding.region.words),
    ]
    displaced = _DISPLACED.get(finding.displacement, f", with displacement ({finding.displacement.value})")
    return " ".join(w for w in words if w) + displaced + _STAGES[finding.healing]


def captions(record: Record, side: str | None, view: str | None) -> list[Caption]:
    """Return the four captions of one exam: the wrist, then the bones in the order of `BONES`.

    Args:
        record: what the exam's report says.
        side: the exam's side, `left` or `right`; None = not known.
        view: the exam's view, e.g. `pa`; None = not known.
    """
    said = grounded(record)
    kept = of_side(said, side)
    return [_wrist(said, kept, side, view), *(_bone(region, kept) for region in BONES)]


def of_side(record: Record, side: str | None) -> list[Finding]:
    """Return the findings of an exam of this side (None = not known): those of the other wrist are left out."""
    return [f for f in record.findings if side is None or f.side is None or f.side.value == side]


def _wrist(record: Record, findings: Sequence[Finding], side: str | None, view: str | None) -> Caption:
    named = side or (record.side if record.side in {"left", "right"} else None)
    start = f"{named.capitalize()} wrist X-ray" if named else "Wrist X-ray"
    shown = f"{start} ({view.upper() if view == 'pa' else view} view)" if view else start
    text = f"{shown} showing {_details(findings)}."
    return _caption(Region.WRIST, " ".join([text, *_additional(record, findings)]), findings)


def _bone(region: Region, findings: Sequence[Finding]) -> Caption:
    own = [f for f in findings if f.region.value == region.value]
    return _caption(region, f"{region.words.capitalize()} region showing {_details(own)}.", own)


def _details(findings: Sequence[Finding]) -> str:
    order = list(Place)
    there = sorted((f for f in findings if f.presence is not Presence.ABSENT), key=lambda f: order.index(f.region))
    return "; ".join(dict.fromkeys(fracture_phrase(f) for f in there)) or "no fracture"


def _additional(record: Record, findings: Sequence[Finding]) -> list[str]:
    grades = dict.fromkeys(f.alignment for f in findings if f.alignment and f.presence is not Presence.ABSENT)
    out = [f"{a.value.replace('_', '-').capitalize()} alignment." for a in grades]
    if record.immobilisation in {"cast", "splint"}:
        out.append(f"{record.immobilisation.capitalize()} in place.")
    if record.hardware:
        out.append("Orthopaedic hardware in place.")
    if record.bone_quality == "osteopenia":
        out.append("Osteopenia.")
    return out


def _caption(region: Region, text: str, findings: Sequence[Finding]) -> Caption:
    """Label a caption by its main finding: the first of the strongest presence that names a type."""
    if not findings:
        return Caption(region, text, None, None, None)
    top = max(_RANK[f.presence] for f in findings)
    strongest = [f for f in findings if _RANK[f.presence] == top]
    main = next((f for f in strongest if f.fracture_type is not FractureType.UNKNOWN), strongest[0])
    return Caption(region, text, main.presence, main.fracture_type, main.healing)
