"""What a report's findings and impression say of the bones, sentence by sentence."""

from collections import Counter
from collections.abc import Sequence

from wristmir_ray.anatomy import BONES, Healing, Presence, Region
from wristmir_ray.phantom.case import BoneFinding
from wristmir_ray.phantom.phrasing import Teller, Told, denial
from wristmir_ray.phantom.sentences import ByRegion, Sentences

_OLD = frozenset({Healing.HEALING, Healing.HEALED, Healing.NONUNION})


class Narrator:
    """Tells one case once (`findings` or `fields`) and again in short (`impression`)."""

    def __init__(self, teller: Teller, terse: bool) -> None:
        self.teller = teller
        self.bank = teller.bank
        self.terse = terse
        self.told = [Told(finding) for finding in teller.case.findings]
        self.denied: set[Region] = set()
        count = Counter(one.finding.region for one in self.told)
        self.single = [one for one in self.told if count[one.finding.region] == 1]
        self.several = [one for one in self.told if count[one.finding.region] > 1]
        self.intact = [region for region in BONES if not count[region]]

    def reported(self) -> tuple[BoneFinding, ...]:
        """Return what the text states so far, bones in the detector's order."""
        stated = [one.reported() for one in self.told]
        stated += [BoneFinding(region, Presence.ABSENT) for region in self.denied]
        return tuple(sorted(stated, key=lambda one: BONES.index(one.region)))

    # The first telling: every finding of the case.

    def findings(self) -> list[str]:
        """Return sentences that state every finding, deny some other bones, and remark on the rest."""
        chance = self.teller.chance
        told = self._positives()
        early, late = self._denials()
        if not chance(0.8):
            told, early = early + told, []
        remarks = self._remarks()
        cut = len(remarks) if chance(0.15) else int(chance(0.3) and bool(remarks))
        return remarks[:cut] + told + early + late + remarks[cut:]

    def _positives(self) -> list[str]:
        chance = self.teller.chance
        queue = list(self.single)
        if chance(0.3):
            queue = [queue[at] for at in self.teller.rng.permutation(len(queue))]
        sentences = []
        if len(queue) > 1 and chance(0.5):
            sentences.append(self._pair(queue[0], queue[1]))
            queue = queue[2:]
        elif len(queue) == 1 and self.intact and queue[0].finding.presence is Presence.PRESENT and chance(0.12):
            bone = self.teller.pick(self.intact)
            sentences.append(self.teller.say(self.bank.pair_absent, queue.pop(), denial(bone)))
            self.denied.add(bone)
        return sentences + [self._single(one) for one in queue] + self._several()

    def _single(self, one: Told) -> str:
        unsure = one.finding.presence is Presence.UNCERTAIN
        if self.terse:
            pool = self.bank.uncertain_terse if unsure else self.bank.present_terse
        else:
            pool = self.bank.uncertain if unsure else self.bank.present
        return self.teller.say(for_region(pool, one.finding.region), one)

    def _several(self) -> list[str]:
        """Tell bones with more than one finding, each with all its details, so that the text tells them apart."""
        if not self.several:
            return []
        self.teller.full = True
        sentences = []
        for region in BONES:
            here = [one for one in self.several if one.finding.region is region]
            sure = all(one.finding.presence is Presence.PRESENT for one in here)
            if len(here) == 2 and sure and self.teller.chance(0.4):
                sentences.append(self.teller.say(self.bank.double, *here))
            elif here:
                sentences.append(self._single(here[0]))
                sentences += [self._again(one, self.bank.second, self.bank.second_uncertain) for one in here[1:]]
        self.teller.full = False
        return sentences

    def _again(self, one: Told, sure: Sentences, unsure: Sentences) -> str:
        return self.teller.say(unsure if one.finding.presence is Presence.UNCERTAIN else sure, one)

    def _pair(self, first: Told, second: Told) -> str:
        pair = sorted((first, second), key=lambda one: one.finding.presence is Presence.UNCERTAIN)
        unsure = [one.finding.presence is Presence.UNCERTAIN for one in pair]
        if all(unsure):
            return f"{self._single(first)} {self._single(second)}"
        if any(unsure):
            return self.teller.say(self.bank.pair_mixed, *pair)
        ordered = sorted(pair, key=lambda one: BONES.index(one.finding.region))
        both = [one.finding.region for one in ordered] == [Region.DISTAL_RADIUS, Region.DISTAL_ULNA]
        if both and self.teller.chance(0.4):
            return self.teller.say(self.bank.pair_radius_ulna, *ordered)
        return self.teller.say(self.bank.pair, first, second)

    # Denials: of one bone, of two, of three, of all that is left.

    def _denials(self) -> tuple[list[str], list[str]]:
        """Return denials that may stand anywhere, and those that must follow the findings."""
        left = [region for region in self.intact if region not in self.denied]
        if not left:
            return [], []
        if not self.told:
            return self._deny_all(), []
        way = float(self.teller.rng.random())
        if way < 0.22:
            return [], []
        if way < 0.5:
            return [], [self.deny_other()]
        if way < 0.58 and Region.DISTAL_ULNA in left and Region.ULNAR_STYLOID not in self.intact:
            self.denied.add(Region.DISTAL_ULNA)
            return [], [self.teller.say(self.bank.absent_ulna_otherwise, denial(Region.DISTAL_ULNA))]
        if way > 0.92:
            left = [self.teller.pick(left)]
        return self._deny(left), []

    def _deny_all(self) -> list[str]:
        way = float(self.teller.rng.random())
        if way < 0.5:
            sentences = [self.deny_global()]
            return sentences + self._deny([self.teller.pick(BONES)]) if way < 0.15 else sentences
        if way < 0.65:
            self.denied.update(BONES)
            return [self.teller.say(self.bank.absent_triple, denial(BONES[0]))]
        return self._deny(list(BONES))

    def _deny(self, regions: Sequence[Region]) -> list[str]:
        """Deny the given bones one by one, or two in a sentence."""
        chance = self.teller.chance
        self.denied.update(regions)
        left = list(regions)
        sentences = []
        ulna_styloid = {Region.DISTAL_ULNA, Region.ULNAR_STYLOID}
        radius_ulna = {Region.DISTAL_RADIUS, Region.DISTAL_ULNA}
        for pair, sentences_of_pair in (
            (ulna_styloid, self.bank.absent_ulna_and_styloid),
            (radius_ulna, self.bank.absent_radius_and_ulna),
        ):
            if pair <= set(left) and chance(0.25):
                sentences.append(self.teller.say(sentences_of_pair, denial(left[0])))
                left = [region for region in left if region not in pair]
        if len(left) > 1 and chance(0.5):
            sentences.append(self.teller.say(self.bank.absent_pair, denial(left[0]), denial(left[1])))
            left = left[2:]
        pool = self.bank.absent_terse if self.terse else self.bank.absent
        return sentences + [self.teller.say(for_region(pool, region), denial(region)) for region in left]

    def deny_global(self) -> str:
        """Return a denial of any fracture of the wrist."""
        self.denied.update(self.intact)
        return self.teller.say(self.bank.absent_global, denial(BONES[0]))

    def deny_other(self) -> str:
        """Return a denial of any fracture beyond those told."""
        self.denied.update(self.intact)
        old = all(one.stated.get("healing") in _OLD for one in self.told)
        pool = self.bank.absent_other_old if old and self.teller.chance(0.5) else self.bank.absent_other
        return self.teller.say(pool, denial(BONES[0]))

    def _remarks(self) -> list[str]:
        bank, chance = self.bank, self.teller.chance
        pools = [bank.remarks] * int(self.teller.rng.integers(0, 4))
        pools += [bank.remarks_cast] * (self.teller.case.cast and chance(0.8))
        pools += [bank.remarks_osteopenia] * (self.teller.case.osteopenia and chance(0.8))
        moved = {one.finding.displacement for one in self.told} - {"none", "unknown"}
        pools += [bank.remarks_aligned] * (not moved and chance(0.25))
        sentences = [self.teller.say(pool, denial(BONES[0])) for pool in pools]
        return list(dict.fromkeys(sentences))

    # The structured list: one line a bone.

    def fields(self) -> list[str]:
        """Return one line for each bone, then remarks."""
        bank, say = self.bank, self.teller.say
        labels = self.teller.pick(bank.labels)
        lines = []
        for region in BONES:
            here = [one for one in self.told if one.finding.region is region]
            self.teller.full = len(here) > 1
            if here:
                words = [self._again(here[0], bank.field_present, bank.field_uncertain)]
                words += [self._again(one, bank.field_second, bank.second_uncertain) for one in here[1:]]
            else:
                words = [say(bank.field_absent, denial(region))]
                self.denied.add(region)
            lines.append(f"{labels[region.value]} {' '.join(words)}")
        self.teller.full = False
        if "carpus" in labels:
            lines.append(f"{labels['carpus']} {say(bank.field_absent, denial(BONES[0]))}")
        return lines + self._remarks()

    # The second telling.

    def impression(self) -> list[str]:
        """Return a summary with less detail; it never denies what was told, nor tells a bone anew."""
        chance, say = self.teller.chance, self.teller.say
        if not self.told:
            self.denied.update(BONES)
            return [say(self.bank.impression_normal, denial(BONES[0]))]
        if self.several or chance(0.1):
            return [say(self.bank.impression_same, self.told[0])]
        sure = [one for one in self.single if one.finding.presence is Presence.PRESENT]
        unsure = [one for one in self.single if one.finding.presence is Presence.UNCERTAIN]
        whole = chance(0.85)
        if not whole and len(self.single) > 1:  # only what matters most
            sure, unsure = (sure[:1], []) if sure else ([], unsure[:1])
        lines = []
        if len(sure) > 1 and chance(0.4):
            lines.append(say(self.bank.pair, sure[0], sure[1]))
            sure = sure[2:]
        lines += [say(for_region(self.bank.headline, one.finding.region), one) for one in sure]
        lines += [say(self.bank.headline_uncertain, one) for one in unsure]
        if whole and self.intact and chance(0.25):
            lines.append(self.deny_other())
        if unsure and chance(0.5):
            lines.append(say(self.bank.advice, unsure[0]))
        return lines


def for_region(pool: ByRegion, region: Region) -> Sentences:
    """Return the sentences that fit any bone and those of this one."""
    return (*pool["any"], *pool.get(region.value, ()))
