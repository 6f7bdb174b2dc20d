"""Phantom reports: their labels, their variety, and the wall between the two banks."""

import datetime
import itertools
import re

import numpy as np
import pytest

from wristmir_ray.anatomy import BONES, Displacement, FractureType, Healing, Presence, Region, Sex, Side
from wristmir_ray.errors import ConfigError
from wristmir_ray.phantom.case import BoneFinding, Case
from wristmir_ray.phantom.phrasing import Teller, Told, fits
from wristmir_ray.phantom.reports import write_report
from wristmir_ray.phantom.sentences import BANKS, DETAIL_OF, Bank, Template, load_bank, parse

TYPES, DISPLACEMENTS, HEALINGS = list(FractureType), list(Displacement), list(Healing)
FEWEST_PATTERNS = 40
CONTEXT = {
    "side": "left",
    "Side": "Left",
    "LR": "L",
    "age": "9",
    "sex": "male",
    "MF": "M",
    "child": "boy",
    "prior": "2020-12-01",
    "today": "2021-03-04",
}


def make_case(*findings: BoneFinding, cast: bool = False, index: int = 0) -> Case:
    return Case(index, index, Side.LEFT, 9.4, Sex.MALE, datetime.date(2021, 3, 4), cast, False, findings)


def random_case(rng: np.random.Generator, index: int) -> Case:
    def finding() -> BoneFinding:
        return BoneFinding(
            BONES[rng.choice(3, p=[0.5, 0.25, 0.25])],
            Presence.UNCERTAIN if rng.random() < 0.25 else Presence.PRESENT,
            TYPES[rng.integers(len(TYPES))],
            DISPLACEMENTS[rng.integers(len(DISPLACEMENTS))],
            HEALINGS[rng.integers(len(HEALINGS))],
        )

    number = int(rng.choice(6, p=[0.25, 0.3, 0.3, 0.09, 0.05, 0.01]))
    return make_case(*(finding() for _ in range(number)), cast=bool(rng.random() < 0.3), index=index)


def cases(count: int = 1500) -> list[Case]:
    rng = np.random.default_rng(7)
    return [random_case(rng, index) for index in range(count)]


def templates(bank: Bank) -> list[Template]:
    """Every sentence of a bank, whichever list it stands in; words and lexicon left out."""
    found: list[Template] = []
    for name in Bank.model_fields:
        value = getattr(bank, name)
        if name in ("lexicon", "words"):
            continue
        lists = value.values() if isinstance(value, dict) else [value]
        found += [one for listed in lists for one in listed if isinstance(one, Template)]
    return found


def skeleton(template: Template) -> str:
    """A template's fixed words: slots, brackets, conditions and punctuation dropped."""
    bare = re.sub(r"^<[^>]*>|\{[^}]*\}", " ", template.source.lower())
    return " ".join(re.findall(r"[a-z#?/&+']+", bare))


def pattern(template: Template) -> str:
    """A template as syntax: its words and the order of its slots, optional parts and digits alike."""
    return " ".join(re.findall(r"[a-z#?/_']+", re.sub(r"\d", "", template.source.lower())))


@pytest.mark.parametrize("bank", BANKS)
def test_same_seed_same_report(bank: str) -> None:
    for case in cases(40):
        first = write_report(case, bank, np.random.default_rng(case.index))
        assert first == write_report(case, bank, np.random.default_rng(case.index))
        assert first.text


def test_reports_of_one_case_vary() -> None:
    case = make_case(BoneFinding(Region.DISTAL_RADIUS, Presence.PRESENT, FractureType.BUCKLE))
    for bank in BANKS:
        texts = {write_report(case, bank, np.random.default_rng(seed)).text for seed in range(200)}
        assert len(texts) > 195


def test_unknown_bank_is_refused() -> None:
    with pytest.raises(ConfigError, match="no sentence bank"):
        write_report(make_case(), "secret", np.random.default_rng(0))


@pytest.mark.parametrize("source", ["There is [a fracture.", "There is a] fracture.", "<type=broken> Broken.", "<x> y"])
def test_bad_template_is_refused(source: str) -> None:
    with pytest.raises(ConfigError):
        parse(source)


def sample_findings() -> list[BoneFinding]:
    pairs = itertools.product(TYPES, ((Displacement.NONE, Healing.ACUTE), (Displacement.PRESENT, Healing.HEALING)))
    found = [
        BoneFinding(bone, Presence.PRESENT, kind, *details)
        for bone in BONES
        for kind, details in pairs
        if kind != "unknown"
    ]
    old = (Healing.HEALED, Healing.NONUNION)
    styloid = (Region.ULNAR_STYLOID, Presence.PRESENT, FractureType.AVULSION, Displacement.MILD)
    found += [BoneFinding(*styloid, healing) for healing in old]
    return found


@pytest.mark.parametrize("bank_name", BANKS)
def test_every_template_renders(bank_name: str) -> None:
    bank = load_bank(bank_name)
    rng = np.random.default_rng(3)
    for template in templates(bank):
        told = next((Told(one), Told(one)) for one in sample_findings() if fits(template, (Told(one), Told(one))))
        for full in (False, True):
            teller = Teller(bank, make_case(), rng, CONTEXT)
            teller.full = full
            sentence = teller.render(template, *told)
            assert not re.search(r"[{}\[\]<>]| {2}| [,.;]|,\s*,|\bA [aeio]", sentence), template.source


@pytest.mark.parametrize("bank_name", BANKS)
def test_lexicon_words_every_value(bank_name: str) -> None:
    lexicon = load_bank(bank_name).lexicon
    for slot, detail in DETAIL_OF.items():
        if slot == "typed":
            continue
        kind = {"fracture_type": TYPES, "displacement": DISPLACEMENTS, "healing": HEALINGS}[detail]
        assert {value.value for value in kind} - {"unknown"} == set(lexicon[slot])
    for slot in ("bone", "metaphysis", "plain", "adj", "abbr"):
        assert set(lexicon[slot]) == {bone.value for bone in BONES}


@pytest.mark.parametrize("bank", BANKS)
def test_reported_tells_the_case_and_no_more(bank: str) -> None:
    """Each finding is reported with its own details or fewer; the rest is denied or passed over."""
    rng = np.random.default_rng(11)
    for case in cases():
        reported = list(write_report(case, bank, rng).reported)
        positive = [one for one in reported if one.presence is not Presence.ABSENT]
        assert len(positive) == len(case.findings)
        for region in BONES:
            for true, told in zip(
                [one for one in case.findings if one.region is region],
                [one for one in positive if one.region is region],
                strict=True,
            ):
                assert told.presence is true.presence
                assert told.displacement in (true.displacement, Displacement.UNKNOWN)
                assert told.healing in (true.healing, Healing.UNKNOWN)
                less = {FractureType.UNKNOWN} | (
                    {FractureType.SALTER_HARRIS} if true.fracture_type.startswith("salter") else set()
                )
                assert told.fracture_type in {true.fracture_type, *less}
        absent = [one for one in reported if one.presence is Presence.ABSENT]
        assert {one.region for one in absent}.isdisjoint(one.region for one in case.findings)
        assert all(one == BoneFinding(one.region, Presence.ABSENT) for one in absent)
        assert len({one.region for one in absent}) == len(absent)


@pytest.mark.parametrize("bank", BANKS)
def test_normal_exams_deny_every_bone(bank: str) -> None:
    for seed in range(300):
        reported = write_report(make_case(), bank, np.random.default_rng(seed)).reported
        assert [one.region for one in reported] == list(BONES)
        assert {one.presence for one in reported} == {Presence.ABSENT}


@pytest.mark.parametrize("bank", BANKS)
def test_some_bones_are_passed_over(bank: str) -> None:
    case = make_case(BoneFinding(Region.DISTAL_RADIUS, Presence.PRESENT, FractureType.BUCKLE))
    counts = {len(write_report(case, bank, np.random.default_rng(seed)).reported) for seed in range(200)}
    assert counts == {1, 2, 3}


@pytest.mark.parametrize("bank", BANKS)
def test_history_may_claim_what_the_body_denies(bank: str) -> None:
    """An indication or a prior claims a fracture of a bone in reports that say there is none."""
    claim = re.compile(
        r"(?i)(indication|history|reason|clinical|clin|ind|hx|compar|prior exams)[^\n]*:[^\n]*(fracture|#|fx)"
    )
    texts = [write_report(make_case(), bank, np.random.default_rng(seed)).text for seed in range(200)]
    assert sum(bool(claim.search(text)) for text in texts) > 60


WORDS = {
    Healing.ACUTE: "acute",
    Healing.HEALING: "heal(?!ed)|callus|periost|bridging",
    Healing.HEALED: "healed|united|union|complete healing|heal completely",
    Healing.NONUNION: "un-?united|nonunited|non-?union|not united|failed to unite|without osseous union",
    Displacement.NONE: "nondisplaced|non-displaced|non displaced|undisplaced|(no|without|any|visible|fragment) "
    "displacement|not displaced",
    Displacement.MINIMAL: "minimal",
    Displacement.MILD: "mild",
    Displacement.MODERATE: "moderate",
    Displacement.SEVERE: "severe|marked",
    Displacement.PRESENT: "displace",
    FractureType.SALTER_HARRIS: "salter|sh[ -]?[ivx0-9]",
    FractureType.SALTER_HARRIS_II: "(salter|sh)[ -]?(harris)? ?(type |grade )?(ii|2)\\b|type (ii|2) salter",
    FractureType.BUCKLE: "buckle|torus",
    FractureType.GREENSTICK: "greenstick",
    FractureType.TRANSVERSE: "transverse",
    FractureType.OBLIQUE: "oblique",
    FractureType.COMMINUTED: "comminuted",
    FractureType.AVULSION: "avuls",
    FractureType.INCOMPLETE: "incomplete",
    FractureType.PLASTIC_BOWING: "bowing|bowed|plastic",
}


@pytest.mark.parametrize("bank", BANKS)
def test_text_holds_the_stated_details(bank: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A detail is labelled only if the text, free of typing errors, has words for it."""
    monkeypatch.setattr("wristmir_ray.phantom.reports.add_slips", lambda text, slips, rng: text)
    rng = np.random.default_rng(5)
    for case in cases():
        report = write_report(case, bank, rng)
        text = " ".join(report.text.lower().split())
        for told in report.reported:
            for value in (told.fracture_type, told.displacement, told.healing):
                assert value == "unknown" or re.search(WORDS.get(value, "salter|sh"), text), value


def test_banks_share_no_template() -> None:
    first, second = (templates(load_bank(name)) for name in BANKS)
    assert {one.source.lower() for one in first}.isdisjoint(one.source.lower() for one in second)
    assert {pattern(one) for one in first}.isdisjoint(pattern(one) for one in second)
    long_first = {skeleton(one) for one in first if len(skeleton(one).split()) > 4}
    assert long_first.isdisjoint(skeleton(one) for one in second)
    names = [{layout.name for layout in load_bank(name).layouts} for name in BANKS]
    assert names[0].isdisjoint(names[1])


@pytest.mark.parametrize("bank_name", BANKS)
@pytest.mark.parametrize("region", [bone.value for bone in BONES])
def test_enough_patterns(bank_name: str, region: str) -> None:
    """At least 40 sentence patterns to state, to hedge and to deny a fracture of each bone."""
    bank = load_bank(bank_name)
    pools = {
        "present": (bank.present, bank.present_terse),
        "uncertain": (bank.uncertain, bank.uncertain_terse),
        "absent": (bank.absent, bank.absent_terse),
    }
    wide = {
        "present": (),
        "uncertain": bank.headline_uncertain + bank.field_uncertain,
        "absent": bank.absent_pair + bank.absent_triple + bank.absent_global + bank.absent_other + bank.field_absent,
    }
    for kind, listed in pools.items():
        found = [one for pool in listed for one in pool["any"] + pool.get(region, ())]
        assert len({pattern(one) for one in (*found, *wide[kind])}) >= FEWEST_PATTERNS, kind
        if kind == "present":
            fixed = {skeleton(one) for pool in listed[:1] for one in pool["any"] + pool.get(region, ())}
            assert len(fixed) >= FEWEST_PATTERNS


@pytest.mark.parametrize("bank_name", BANKS)
def test_every_sentence_list_is_free_of_doubles(bank_name: str) -> None:
    sources = [one.source for one in templates(load_bank(bank_name))]
    doubles = {source for source in sources if sources.count(source) > 1}
    assert not doubles
