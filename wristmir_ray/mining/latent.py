"""Heads of a clause that are planned, historical, or seen on another exam.

What a plan names with an article is there (`to assess healing of the radial fracture`); what the plan says of it is
not known yet.
"""

from wristmir_ray.mining.clauses import JOINS, Clause
from wristmir_ray.mining.terms import Mention

_AGO = frozenset({"ago", "initially", "previously", "earlier", "formerly", "originally"})
_PAST = frozenset({"was", "were"})


def mark_latent(clause: Clause) -> None:
    """Mark heads that are planned, historical or seen on another exam."""
    prior = next((m for m in clause.mentions if m.kind == "prior"), None)
    past = prior and any(m.kind == "pastverb" and m.first > prior.last for m in clause.mentions)
    lead = set(clause.words(max(clause.first, prior.first - 4), prior.first)) if prior else set()
    if prior and {"on", "in", "at"} & (lead if "time" in lead else set(clause.words(prior.first - 2, prior.first))):
        past = past or bool({"was", "were", "had"} & set(clause.words(prior.last, clause.last)))
    if _AGO & set(clause.words(clause.first, clause.last)):
        for head in clause.heads:  # `a fracture was suspected ten days ago`
            head.latent |= head.hedge is not None and bool(_PAST & set(_verb(clause, head.hedge)))
    for m in clause.mentions:
        if m.kind != "ignore" and not (past and m is prior):
            continue
        reach = _reach(clause, m)
        for head in clause.heads:
            if clause.word(m.first) == "r/o" and head.regions and head.regions[0].last < m.first:
                head.hedge = m  # `lucency of the radius, r/o fracture`
                continue
            advised = head.hedge is not None and clause.word(head.hedge.first).startswith("consider")
            if not m.first < head.mention.first < reach or advised:
                continue
            if head.neg is not None and head.neg.kind == "negpost":
                continue  # `the clinical concern for a fracture is not borne out`
            head.planned = m.kind == "ignore" and m.value == "plan" and head.known and bool(head.regions)
            head.latent |= not head.planned


def _reach(clause: Clause, cue: Mention) -> int:
    for i in range(cue.last + 1, clause.last - 1):
        if clause.word(i) == ":" and i > cue.last + 1 and clause.word(cue.first).startswith("follow"):
            return i  # `follow-up of a radial fracture: the fracture has healed`
        if cue.value == "plan" and clause.word(i) in {"as", "since", "because"}:
            return i  # `MRI is advised, as a fracture cannot be excluded`
        if (
            clause.word(i) in JOINS
            and clause.word(i + 1) in {"there", "the", "now", "this", "a", "an", "these"}
            and cue.value != "plan"
        ):
            return i
    return clause.last


def _verb(clause: Clause, cue: Mention) -> list[str]:
    return clause.words(max(clause.first, cue.first - 1), cue.first + 1)
