"""Turn templates into sentences, and remember what each sentence states of which finding."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

import numpy as np

from wristmir_ray.anatomy import Displacement, FractureType, Presence, Region
from wristmir_ray.phantom.case import BoneFinding, Case
from wristmir_ray.phantom.sentences import DETAIL_OF, Bank, Group, Part, Slot, Template

T = TypeVar("T")

_ARTICLE = re.compile(r"\b([Aa])n? (?=([\w-]+))")
_VOWEL = re.compile(r"(?!uni|eu|one\b|us\b)[aeiou8]|sh\b|sh[ \d-]|1[18]\b")
_GAP = re.compile(r" {2,}")
_SPACE_BEFORE = re.compile(r" +(?=[,.;:)])")
_COMMAS = re.compile(r"(?:\s*[,;])+(?=\s*[,;])|^[,;]\s*|\s*[,;:]$")
_START = re.compile(r"(?:^|(?<=[.] ))[a-z]")

GRADED = frozenset({f"salter_harris_{grade}" for grade in ("i", "ii", "iii", "iv", "v")})
METAPHYSEAL = frozenset({"buckle", "transverse", "greenstick", "oblique", "comminuted", "incomplete", "plastic_bowing"})
"""Types that lie in the metaphysis, so that `distal radial metaphysis` may name the site."""

_NO_SLIDING = frozenset({FractureType.PLASTIC_BOWING})


@dataclass(slots=True)
class Told:
    """A finding and what the text has stated of it so far (field -> value)."""

    finding: BoneFinding
    stated: dict[str, Any] = field(default_factory=dict)

    @property
    def known(self) -> dict[str, Any]:
        """Details that a sentence may state: those which the case gives."""
        found = self.finding
        slides = found.fracture_type not in _NO_SLIDING
        details = {
            "fracture_type": found.fracture_type,
            "displacement": found.displacement if slides else Displacement.UNKNOWN,
            "healing": found.healing,
        }
        return {name: value for name, value in details.items() if value != "unknown"}

    def state(self, name: str, value: str) -> None:
        """Record a stated detail; a grade replaces Salter-Harris without one, never the reverse."""
        kind = type(getattr(self.finding, name))
        if self.stated.get(name, FractureType.SALTER_HARRIS) == FractureType.SALTER_HARRIS:
            self.stated[name] = kind(value)

    def reported(self) -> BoneFinding:
        """Return the finding with the details that the text states, the others unknown."""
        return replace(BoneFinding(self.finding.region, self.finding.presence), **self.stated)


def denial(region: Region) -> Told:
    """Return an intact bone, for sentences that deny a fracture of it."""
    return Told(BoneFinding(region, Presence.ABSENT))


class Teller:
    """Chooses and renders templates of one bank for one case."""

    def __init__(self, bank: Bank, case: Case, rng: np.random.Generator, context: dict[str, str]) -> None:
        self.bank = bank
        self.case = case
        self.rng = rng
        self.context = context
        self.full = False
        """State every known detail, so that several findings of one bone can be told apart."""

    def chance(self, share: float) -> bool:
        """Return true in `share` of the calls."""
        return bool(self.rng.random() < share)

    def pick(self, options: Sequence[T]) -> T:
        """Return one option, each as likely."""
        return options[int(self.rng.random() * len(options))]

    def say(self, pool: Sequence[Template], *told: Told) -> str:
        """Return a sentence from a template that fits the findings.

        Raises:
            LookupError: no template of the pool fits.
        """
        fitting = [template for template in pool if fits(template, told)]
        if not fitting:
            raise LookupError("no template fits")
        return self.render(self.pick(fitting), *told)

    def render(self, template: Template, *told: Told) -> str:
        """Return the template as a sentence, and record what it states."""
        for name, value in template.states:
            told[0].state(name, value)
        return tidy(self._join(template.parts, told))

    def _join(self, parts: tuple[Part, ...], told: tuple[Told, ...]) -> str:
        words = []
        for part in parts:
            if isinstance(part, str):
                words.append(part)
            elif isinstance(part, Group):
                if _can(part.needs, told) and (self.full or self.chance(0.6)):
                    words.append(self._join(part.parts, told))
            else:
                words.append(self._slot(part, told))
        return "".join(words)

    def _slot(self, slot: Slot, told: tuple[Told, ...]) -> str:
        if slot.name in self.context:
            return self.context[slot.name]
        if slot.name in self.bank.words:
            return self._join(self.pick(self.bank.words[slot.name]).parts, told)
        one = told[max(slot.index - 1, 0)]
        if slot.name in DETAIL_OF:
            if slot.optional and not (
                _can(frozenset({(slot.index, DETAIL_OF[slot.name])}), told) and (self.full or self.chance(0.7))
            ):
                return ""
            return self._detail(slot, told)
        if slot.name == "fx":
            return self._fracture(one)
        return self._place(slot.name, one.finding)

    def _detail(self, slot: Slot, told: tuple[Told, ...]) -> str:
        name = DETAIL_OF[slot.name]
        listed = told if slot.index == 0 else (told[slot.index - 1],)
        value = str(listed[0].known[name])
        if value in GRADED and not self.full and self.chance(0.1):
            value = FractureType.SALTER_HARRIS.value
        for one in listed:
            one.state(name, value)
        if slot.name == "typed":
            return self._noun(value)
        return self._join(self.pick(self.bank.lexicon[slot.name][value]).parts, told)

    def _fracture(self, told: Told) -> str:
        if "fracture_type" in told.known and (self.full or self.chance(0.9)):
            return self._detail(Slot("typed", 1, False), (told,))
        return "fracture"

    def _noun(self, value: str) -> str:
        nouns = self.bank.lexicon["fx"].get(value, ())
        if nouns and self.chance(0.5):
            return self.pick(nouns).source
        return f"{self.pick(self.bank.lexicon['type'][value]).source} fracture"

    def _place(self, name: str, finding: BoneFinding) -> str:
        key = finding.region.value
        if name == "bone":
            if finding.presence is Presence.ABSENT:
                name = "plain"
            elif finding.fracture_type in METAPHYSEAL and self.chance(0.4):
                return self.pick(self.bank.lexicon["metaphysis"][key]).source
        return self.pick(self.bank.lexicon[name][key]).source


def fits(template: Template, told: Sequence[Told]) -> bool:
    """Return whether the findings have every detail that the template states, and none that it bars."""
    if not _can(template.needs, told) or any(told[0].known.get(name) == value for name, value in template.bars):
        return False
    return all(told[0].known.get(name) == value for name, value in template.states)


def _can(needs: frozenset[tuple[int, str]], told: Sequence[Told]) -> bool:
    for index, name in needs:
        if index == 0:
            values = {one.known.get(name) for one in told}
            if len(values) > 1 or None in values:
                return False
        elif name not in told[index - 1].known:
            return False
    return True


def tidy(text: str) -> str:
    """Return a sentence with single spaces, the right articles and capitals, and a full stop."""
    text = _COMMAS.sub("", _SPACE_BEFORE.sub("", _GAP.sub(" ", text.strip())))
    text = _ARTICLE.sub(_article, text)
    return _START.sub(lambda match: match.group().upper(), text)


def _article(match: re.Match[str]) -> str:
    letter, word = match.groups()
    return f"{letter}n " if _VOWEL.match(word.lower()) else f"{letter} "
