"""What relatives and patients fear or believe, and what was broken years ago: neither is a finding of this exam.

    lay      `mother worried about a fracture of the ulna`, `a fracture was feared by the parents`
    former   `the radius was fractured in 2019`, `fracture of the ulna three years ago`

The fear of a lay person is a question even where the report tells nothing else. What was broken years ago counts where
nothing is said of today.
"""

import re
from collections.abc import Iterable
from dataclasses import replace

from wristmir_ray.anatomy import Presence
from wristmir_ray.mining.clauses import Clause
from wristmir_ray.mining.hearsay import FINITE, TODAY, WORDS
from wristmir_ray.mining.statements import Statement
from wristmir_ray.mining.terms import Mention

_HEADS = frozenset({"fx", "combo", "type", "deny", "intact"})
_TODAY_KINDS = frozenset({"heal", "disp", "degree", "align", "ang", "hedge", "hedgepost", "prior", "modal"})
_LAY, _MOVED, _OPINES = (WORDS[k] for k in ("lay", "moved", "opines"))
_BE = r"(?:is|are|was|were|remains|remain|being|been|has|have|had|feel|feels|felt|express(?:es|ed)?|voic(?:es|ed)|with)"
_ADVERB = r"(?:also|still|both|very|quite|much|now|understandably|particularly|great|some|had|has|have|\w+ly)"
_REST = r"(?:(?! (?:and|but|when|while) )[^,;:])*$"
"""Up to the fracture: one clause, since `the child was anxious and a fracture is seen` fears none."""
_THAT = r"(?:(?! (?:but|when|while) | and (?:an?|there)\b)[^,;:])*$"
"""The same of a clause with a subject of its own: `thinks the radius and ulna are broken`."""
_FEARS = re.compile(
    rf"\b(?:{_LAY})(?: (?:{_BE}|{_ADVERB}|{_MOVED}|and)){{0,5}} (?:{_MOVED})\b{_REST}"
    rf"|\b(?:{_LAY})(?: {_ADVERB}){{0,2}} (?:{_OPINES})\b{_THAT}"
    rf"|\b(?:{_MOVED}) (?:of|from|by|among|in) (?:(?:the|his|her|their|both) )?(?:{_LAY})\b{_REST}"
)
_BY = re.compile(
    rf"\b(?:feared|suspected|believed|thought|queried|questioned|claimed|assumed|reported)(?: \w+)? by"
    rf" (?:(?:the|his|her|their|both) )?(?:{_LAY})\b"
)
_YEARS_AGO = re.compile(
    r"\b(?:(?:in|during|around|since)(?: \w+)? (?:19|20)\d\d|(?:years?|yrs?|decades?) (?:ago|earlier|before|back)"
    r"|as an? (?:\w+ )?(?:child|infant|toddler|baby|kid|boy|girl)|in (?:\w+ )?(?:childhood|infancy)|last year)\b"
)


def set_apart(clause: Clause, statements: Iterable[Statement]) -> list[Statement]:
    """Return the statements of a clause, latent where a lay person's fear makes them."""
    found, head = list(statements), next((m for m in clause.mentions if m.kind in _HEADS), None)
    if head is None or not _is_lay(clause, head):
        return found
    answers = [s.presence is Presence.ABSENT and s.start > head.start for s in found]  # `is unfounded: no fracture`
    return [s if a else replace(s, latent=True) for s, a in zip(found, answers, strict=True)]


def outdate(clause: Clause, statements: Iterable[Statement]) -> list[Statement]:
    """Return the statements of a clause, a fracture latent where it is dated years ago."""
    found = list(statements)
    if not _is_former(clause):
        return found
    return [replace(s, latent=True) if s.regions and s.presence is Presence.PRESENT else s for s in found]


def _is_lay(clause: Clause, head: Mention) -> bool:
    if any(m.kind == "negpost" and m.first > head.last for m in clause.mentions):
        return False
    if _FEARS.search(" ".join(clause.words(clause.first, head.first))):
        return True
    after = " ".join(clause.words(head.first, clause.last))
    told = _BY.search(after)
    return told is not None and FINITE.search(after, told.end()) is None


def _is_former(clause: Clause) -> bool:
    if not any(m.kind in {"fx", "combo"} for m in clause.mentions):
        return False
    text = " ".join(clause.words(clause.first, clause.last))
    if _YEARS_AGO.search(text) is None or any(m.kind in _TODAY_KINDS for m in clause.mentions):
        return False
    sound = any(m.kind in {"intact", "negpost"} for m in clause.mentions)
    return sound or not (TODAY.search(text) or FINITE.search(text))
