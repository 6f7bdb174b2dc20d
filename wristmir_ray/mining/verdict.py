"""What of a report's drafts and denials becomes findings, once it is read to its end."""

from collections.abc import Iterable, Sequence

from wristmir_ray.anatomy import Presence
from wristmir_ray.mining.drafts import Draft, Span
from wristmir_ray.mining.findings import CROPPED, Place


def conclude(drafts: Sequence[Draft], denials: Sequence[tuple[str | None, Span]]) -> list[Draft]:
    """Return the findings: what is there, what is denied, in the order of `Place`.

    A mere sign (`widening`) that nothing called a fracture gives way to a denial of all fractures.
    """
    there = [d for d in drafts if d.presence is not Presence.ABSENT]
    there = [
        d for d in there if not d.weak or not any(o is not d and o.place is d.place and o.side == d.side for o in there)
    ]
    there = [d for d in there if not d.sign or not any(side in (d.side, None) for side, _ in denials)]
    out = list(there)
    for draft in drafts:
        if draft.presence is Presence.ABSENT and not _covered(out, draft.place, draft.side):
            out.append(draft)
    for side, span in denials:
        for place in CROPPED:
            if not _covered(out, place, side):
                region = Span("region", span.start, span.end, span.section)
                out.append(Draft(place, side, Presence.ABSENT, {}, [region, span]))
    order = list(Place)
    return sorted(out, key=lambda d: (order.index(d.place), d.side or ""))


def _covered(drafts: Iterable[Draft], place: Place, side: str | None) -> bool:
    return any(d.place is place and (d.side == side or None in (d.side, side)) for d in drafts)
