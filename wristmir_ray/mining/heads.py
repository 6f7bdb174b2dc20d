"""The heads of a clause and the bones they speak of.

A *head* is what is said to be there or not: `fracture`, `avulsion`, `Salter-Harris II`, `bony
injury`. Around it stand premodifiers (`a minimally displaced distal radial buckle fracture`) and
bones in a prepositional phrase (`of the distal radius and ulna`). Bones may also come first as a
subject (`the distal ulna shows a buckle fracture`, `Distal radius: no fracture`).
"""

from wristmir_ray.mining.claims import claim_bones
from wristmir_ray.mining.clauses import ADJECTIVES, BE, HEAD_KINDS, JOINS, NOUNS, PREPOSITIONS, SIGNS, Clause, Head
from wristmir_ray.mining.several import RANKS, tell_apart
from wristmir_ray.mining.terms import Mention

_STOPS = PREPOSITIONS | frozenset(
    {"a", "an", "with", "there", "also", "by", "from", "as", "than", "then", "who", "whose", "into", "extending"}
    | {"seen", "noted", "identified", "present", "demonstrated", "which", "following", "after", "since", "during"}
    | {"before"}
)
_PAIRING = frozenset({"both", "neither", "either"})
_STAGES = frozenset({("heal", "healed"), ("heal", "healing"), ("heal", "acute"), ("heal", "old")})
_NOUN_TYPES = frozenset({"buckle", "avulsion", "greenstick", "plastic_bowing"})
_MAX_FILLERS = 5


def find_heads(clause: Clause) -> None:
    """Fill `clause.heads`, each with its adjectives and bones, and `clause.claimed`."""
    reader = _Reader(clause)
    reader.find()
    claim_bones(clause)
    tell_apart(clause)


class _Reader:
    def __init__(self, clause: Clause) -> None:
        self.clause = clause

    def find(self) -> None:
        for m in self.clause.mentions:
            if m.kind in HEAD_KINDS and (m.kind != "proform" or self._is_proform(m)):
                self._add(m)
        for m in self.clause.mentions:
            if m.kind == "type" and m.first not in self.clause.claimed and self._is_noun(m):
                self._add(m)
        self.clause.heads = [h for h in self.clause.heads if h.kind != "injury" or self._is_bony(h)]
        self.clause.heads.sort(key=lambda h: h.mention.first)

    def _is_proform(self, m: Mention) -> bool:
        """Whether `one` stands for `fracture` (`the ulnar one`)."""
        before = self.clause.ending.get(m.first - 1)
        if before is not None and (before.kind in {"region", "type"} or (before.kind, before.value) in _STAGES):
            return True
        following, typed = self.clause.starting.get(m.last + 1), self.clause.starting.get(m.last + 2)
        if self.clause.heads and self.clause.word(m.first - 1) in RANKS and following is not None:
            return following.kind in {"verb", "type", "heal", "disp", "degree"}  # `a more distal one is acute`
        if self.clause.heads and typed is not None and typed.kind == "type":
            return self.clause.word(m.first - 1) == "and" and self.clause.word(m.last + 1) == "of"
        after = next((x for x in self.clause.mentions if x.first > m.last and x.kind not in {"known", "side"}), None)
        placed = after is not None and after.kind == "region" and after.first - m.last <= 3
        many = any(h.kind == "many" for h in self.clause.heads)
        opened = bool(self.clause.heads) or self.clause.word(m.first - 1) in {"is", "also", "was", "another"}
        return placed and opened and not many and self.clause.word(m.last + 1) in PREPOSITIONS

    def _is_bony(self, head: Head) -> bool:
        """Whether `injury` is one of bone: by its type (`torus injury`) or its place (`injury to the ulna`)."""
        after = next((x for x in self.clause.mentions if x.first > head.mention.last and x.kind != "known"), None)
        placed = after is not None and after.kind == "region" and after.first - head.mention.last <= 4
        typed = any(a.kind == "type" for a in head.adjectives)
        typed |= bool(head.regions)  # `no ulnar injury`
        return placed or typed or bool(self.clause.subject(head.first))  # `the ulna shows no injury`

    def _add(self, m: Mention) -> None:
        head = self._premodify(m)
        head.known |= m.kind == "proform"
        self.clause.heads.append(head)
        self.clause.claimed.update({m.first}, (a.first for a in head.adjectives), (r.first for r in head.regions))

    def _is_noun(self, m: Mention) -> bool:
        """Whether a fracture type stands for the fracture itself (`avulsion of the ulnar styloid`)."""
        if self.clause.listed and not self.clause.heads:
            return True
        following = self.clause.starting.get(m.last + 1)
        physeal = following is not None and following.kind == "type" and following.last > following.first
        if physeal or (m.value not in _NOUN_TYPES and not m.value.startswith("salter")):
            return False  # `Salter-Harris II physeal fracture`
        whole = self._premodify(m)
        if "fracture" in self.clause.words(m.first, m.last) and self.clause.word(whole.first - 1) in {"a", "an"}:
            return True  # `a Salter-Harris II fracture of the physis`
        others = [h for h in self.clause.heads if h.kind not in SIGNS]
        alone = not others or bool(whole.regions) or self.clause.before_bracket(m.first) is not None
        return alone or self._names_bone(m) or bool(self.clause.subject(m.first))

    def _names_bone(self, m: Mention) -> bool:
        """Whether a bone follows a type at once (`avulsion of the styloid`, `bowing ulna, greenstick radius`)."""
        after = next((x for x in self.clause.mentions if x.first > m.last and x.kind not in {"known", "side"}), None)
        if after is None or after.kind != "region" or after.first - m.last > 5:
            return False
        if self.clause.word(m.last + 1) in {"of", "in", "at", "involving", "through"}:
            return True
        return after.first == m.last + 1 and self.clause.word(m.first - 1) == ","

    def _premodify(self, m: Mention) -> Head:
        """Walk left over adjectives, bones and fillers up to the start of the noun phrase."""
        head = Head(m, m.first)
        i, fillers = m.first - 1, 0
        while i >= self.clause.first:
            left = self.clause.ending.get(i)
            if left is None:
                word = self.clause.word(i)
                if word in JOINS:
                    if m.kind == "proform" or not self._joins(i, head):
                        break
                elif word in {"(", ")"} and self._is_gloss(i, head):
                    pass
                elif word in {"a", "an"} and self._is_listed(i, head):
                    i -= 1
                elif word in _STOPS or not word.isalnum() or fillers >= _MAX_FILLERS:
                    break
                else:
                    fillers += 1
                i -= 1
                continue
            if not self._take(left, head):
                before = self._paired(left, head)
                if before is None:
                    break
                head.regions.insert(0, before)
                head.first, i = before.first, before.first - 1
                continue
            head.first = left.first
            i = left.first - 1
        return head

    def _paired(self, left: Mention, head: Head) -> Mention | None:
        """Return the bone before an article amid coordinated bones (`both the radial and the ulnar fractures`)."""
        before = self.clause.ending.get(left.first - 2)
        if before is None or before.kind != "region" or self.clause.word(left.first - 1) not in JOINS:
            return None
        if left.value != "det" or not head.regions or self.clause.owned(before, direct=False, by_noun=False):
            return None
        opens = {self.clause.word(k) for k in range(max(self.clause.first, left.first - 8), left.first)}
        return before if head.kind == "many" or opens & _PAIRING else None

    def _is_listed(self, i: int, head: Head) -> bool:
        """Whether the article at token `i` stands amid bones that share the noun (`a radial nor an ulnar fracture`)."""
        before = self.clause.ending.get(i - 2)
        if before is None or before.kind != "region" or self.clause.word(i - 1) not in {"nor", "or", "and"}:
            return False
        return bool(head.regions) and self.clause.word(before.first - 1) in {"a", "an"}

    def _is_gloss(self, i: int, head: Head) -> bool:
        """Whether the bracket at token `i` holds but an adjective: `buckle (torus) fracture`."""
        if self.clause.word(i) == "(":
            return bool(head.adjectives) and head.adjectives[0].first == i + 1
        inner = self.clause.ending.get(i - 1)
        return inner is not None and inner.kind in ADJECTIVES and self.clause.word(inner.first - 1) == "("

    def _take(self, left: Mention, head: Head) -> bool:
        """Add one premodifier; False where the noun phrase starts."""
        if left.first in self.clause.claimed:
            return False
        if left.kind == "region":
            if self.clause.owned(left, direct=not head.regions, by_noun=bool(head.regions)) and not self._is_twin(left):
                return False
            head.regions.insert(0, left)
        elif left.kind in ADJECTIVES:
            if (left.kind, left.value) in NOUNS:
                return False
            head.adjectives.insert(0, left)
        elif left.kind == "extra":
            head.other |= left.value == "other"
            head.second |= left.value == "second"
        elif left.kind == "known":
            head.known = True
            return left.value == "known"
        elif left.kind == "both":
            head.known = True
            return False
        return left.kind in {"region", "side", "extra", "mask", "known"} or left.kind in ADJECTIVES

    def _joins(self, i: int, head: Head) -> bool:
        left = self.clause.ending.get(i - 1) or (
            self.clause.ending.get(i - 2) if self.clause.word(i - 1) in JOINS else None
        )
        if left is None:
            return False
        if left.kind == "extra":
            return True
        if left.kind == "region":
            return not self.clause.owned(left, direct=False) or (
                head.kind == "many" and bool(head.regions) and self._is_twin(left)
            )
        return (
            left.kind in ADJECTIVES and (left.kind, left.value) not in NOUNS and not head.regions and self._leads(left)
        )

    def _is_twin(self, left: Mention) -> bool:
        """Whether a bone has its own adjective in a list: `transverse radial and greenstick ulnar fractures`."""
        own = self.clause.ending.get(left.first - 1)
        return (
            own is not None
            and own.kind in {"type", "heal"}
            and (own.kind, own.value) not in NOUNS
            and own.first not in self.clause.claimed
        )

    def _leads(self, adjective: Mention) -> bool:
        """Whether a run of adjectives opens a noun phrase, rather than trailing a head or a bone."""
        m: Mention | None = adjective
        while m is not None and m.kind in ADJECTIVES:
            m = self.clause.ending.get(m.first - 1)
        if m is not None and m.kind == "verb":
            return self.clause.word(m.last) not in BE
        return m is None or m.kind not in {"region", "copula", *HEAD_KINDS}
