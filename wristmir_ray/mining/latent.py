"""Heads of a clause that are planned, historical, or seen on another exam.

What a plan names with an article is there (`to assess healing of the radial fracture`); what the plan says of it is
not known yet.
"""

from wristmir_ray.mining.clauses import JOINS, Clause
from wristmir_ray.mining.terms import Mention


def mark_latent(clause: Clause) -> None:
    """Mark heads that are planned, historical or seen on another exam."""
    prior = next((m for m in clause.mentions if m.kind == "prior"), None)
    past = prior and any(m.kind == "pastverb" and m.first > prior.last for m in clause.mentions)
    if prior and clause.words(prior.first - 2, prior.first)[:1] in (["on"], ["in"], ["at"]):
        past = past or bool({"was", "were", "had"} & set(clause.words(prior.last, clause.last)))
    for m in clause.mentions:
        if m.kind != "ignore" and not (past and m is prior):
            continue
        reach = _reach(clause, m)
        for head in clause.heads:
            advised = head.hedge is not None and clause.word(head.hedge.first).startswith("consider")
            if not m.first < head.mention.first < reach or advised:
                continue
            head.planned = m.kind == "ignore" and m.value == "plan" and head.known and bool(head.regions)
            head.latent |= not head.planned


def _reach(clause: Clause, cue: Mention) -> int:
    for i in range(cue.last + 1, clause.last - 1):
        if cue.value == "plan" and clause.word(i) in {"as", "since", "because"}:
            return i  # `MRI is advised, as a fracture cannot be excluded`
        if (
            clause.word(i) in JOINS
            and clause.word(i + 1) in {"there", "the", "now", "this", "a", "an", "these"}
            and cue.value != "plan"
        ):
            return i
    return clause.last
