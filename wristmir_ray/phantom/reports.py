"""Free-text reports of phantom exams, with what an expert would annotate in them.

What `reported` holds is the convention that an extractor is scored by:

- The text's body (findings, impression) counts. Indications and prior exams ("known buckle fracture", "prior of 3 May
  showed ...") do not, whatever they mention.
- Regions are the distal radius, the distal ulna and the ulnar styloid. Scaphoid, carpals and metacarpals are ignored.
- present: stated as a fact, "consistent with" and "compatible with" included; healed fractures too.
  uncertain: hedged ("possible", "cannot exclude", "suspicious for", "may represent", "?buckle").
  absent: denied, also with "no convincing" or "no definite". A bone the text passes over is not in `reported`.
- "No fracture of the wrist", "no acute osseous abnormality", "normal radiograph" deny all three regions, save those the
  text reports otherwise; "no other fracture" and "remaining bones intact" deny those of the three not otherwise told.
- "Distal ulna intact" says nothing of the styloid; "the ulna is intact" stands only where the text speaks of the
  styloid too.
- A detail is held as stated, `unknown` where the text is silent: buckle = torus; Salter-Harris without a grade is
  `salter_harris`. Displacement: "displaced", "displaced by 3 mm" = present; marked and severe = severe. Angulation and
  alignment say nothing of displacement. Healing: acute only where stated; callus, periosteal reaction, bridging =
  healing; "united" = healed; "ununited" = nonunion. Absent bones carry no detail.
- Findings and impression are one text: their details are united, and a grade wins over Salter-Harris without one.
- Two findings of one bone are two entries.
"""

import datetime
import textwrap
from dataclasses import dataclass

import numpy as np

from wristmir_ray.anatomy import Healing, Region, Sex
from wristmir_ray.phantom.case import BoneFinding, Case
from wristmir_ray.phantom.phrasing import Teller, denial
from wristmir_ray.phantom.sentences import Bank, LayoutSpec, SectionSpec, Sentences, load_bank
from wristmir_ray.phantom.statements import Narrator
from wristmir_ray.phantom.typing_errors import add_slips

_SLIP_SHARE = 0.15
"""Share of reports with a typing error; one in five of these has a second one."""


@dataclass(frozen=True)
class ReportText:
    """A report, and what its body states of the three bones (the module's convention)."""

    text: str
    reported: tuple[BoneFinding, ...]


def write_report(case: Case, bank: str, rng: np.random.Generator) -> ReportText:
    """Return a report of `case`, written in sentences of the bank `open` or `sealed`.

    Every finding of the case is told, with some or all of its details; other bones are denied or passed over.
    The same case, bank and state of `rng` give the same text.

    Raises:
        ConfigError: there is no such bank.
    """
    sentences = load_bank(bank)
    layout = _layout(sentences, rng)
    teller = Teller(sentences, case, rng, _context(case, sentences, rng))
    narrator = Narrator(teller, terse=layout.register_ == "terse")
    sections = _sections(layout, narrator, teller)
    text = layout.gap.join(_finish(section, layout, teller) for section in sections)
    return ReportText(text, narrator.reported())


def _layout(bank: Bank, rng: np.random.Generator) -> LayoutSpec:
    mark = rng.random() * sum(layout.weight for layout in bank.layouts)
    for layout in bank.layouts:
        mark -= layout.weight
        if mark < 0:
            return layout
    return bank.layouts[-1]


def _context(case: Case, bank: Bank, rng: np.random.Generator) -> dict[str, str]:
    """Return the words of the whole exam: side, age, dates."""
    prior = case.study_date - datetime.timedelta(days=int(rng.integers(5, 120)))
    way = bank.dates[int(rng.random() * len(bank.dates))]
    child = {Sex.FEMALE: "girl", Sex.MALE: "boy"}.get(case.sex, "child")
    return {
        "side": case.side.value,
        "Side": case.side.value.capitalize(),
        "LR": case.side.value[0].upper(),
        "age": str(int(case.age_years)),
        "sex": {Sex.FEMALE: "female", Sex.MALE: "male"}.get(case.sex, "patient"),
        "MF": {Sex.FEMALE: "F", Sex.MALE: "M"}.get(case.sex, ""),
        "child": child,
        "prior": prior.strftime(way),
        "today": case.study_date.strftime(way),
    }


def _sections(layout: LayoutSpec, narrator: Narrator, teller: Teller) -> list[tuple[SectionSpec, list[str]]]:
    """Return the report's sections in print order; the bones are told first, wherever they are printed."""
    chosen = [spec for spec in layout.sections if teller.chance(spec.share)]
    body: dict[str, list[str]] = {}
    for kind in ("findings", "fields"):
        if any(spec.kind == kind for spec in chosen):
            body[kind] = narrator.fields() if kind == "fields" else narrator.findings()
    if any(spec.kind == "impression" for spec in chosen):
        body["impression"] = narrator.impression() if body else narrator.findings()
    if layout.sections[0].heading == "" and "findings" in body and teller.chance(0.15):
        body["findings"] = _prior_in_text(narrator, teller) + body["findings"]
    return [(spec, body[spec.kind] if spec.kind in body else _around(spec, teller)) for spec in chosen]


def _prior_in_text(narrator: Narrator, teller: Teller) -> list[str]:
    """Return a prior exam's claim about a bone of which this text says how it is today."""
    regions: list[Region] = [finding.region for finding in narrator.reported()]
    return [teller.say(teller.bank.comparison_in_text, denial(teller.pick(regions)))] if regions else []


def _around(spec: SectionSpec, teller: Teller) -> list[str]:
    """Return what stands around the body: exam, indication, technique, comparison."""
    bank = teller.bank
    if spec.kind == "indication":
        old = teller.case.cast or any(
            finding.healing not in (Healing.ACUTE, Healing.UNKNOWN) for finding in teller.case.findings
        )
        pool: Sentences = bank.indication_follow_up if teller.chance(0.85 if old else 0.1) else bank.indication_trauma
    else:
        pool = {
            "exam": bank.exam,
            "technique": bank.technique,
            "comparison": bank.comparison,
            "closing": bank.advice,
        }[spec.kind]
    return [teller.say(pool, denial(Region.DISTAL_RADIUS))]


def _finish(section: tuple[SectionSpec, list[str]], layout: LayoutSpec, teller: Teller) -> str:
    """Return a section as printed: spelling, slips, heading, list marks, letters, line breaks."""
    spec, sentences = section
    if spec.style == "prose":
        text = " ".join(_stop(sentence) for sentence in sentences)
    else:
        marks = {"numbered": "{}. ", "bullets": "- ", "lines": ""}[spec.style]
        text = "\n".join(marks.format(at) + sentence for at, sentence in enumerate(sentences, start=1))
    if layout.british:
        for american, british in teller.bank.british.items():
            text = text.replace(american, british)
    text = _slips(text, len(layout.sections), teller)
    if layout.wrap:
        text = "\n".join(textwrap.fill(line, layout.wrap, break_on_hyphens=False) for line in text.split("\n"))
    if spec.heading:
        below = spec.below or spec.style == "bullets" or "\n" in text
        text = f"{spec.heading}\n{text}" if below else f"{spec.heading} {text}"
    return {"upper": text.upper(), "lower": text.lower()}.get(layout.letters, text)


def _slips(text: str, num_sections: int, teller: Teller) -> str:
    share = _SLIP_SHARE / max(num_sections / 2, 1)
    for chance in (share, share / 5):
        if teller.chance(chance):
            text = add_slips(text, teller.bank.slips, teller.rng)
    return text


def _stop(sentence: str) -> str:
    return sentence if sentence[-1] in ".?!:" else f"{sentence}."
