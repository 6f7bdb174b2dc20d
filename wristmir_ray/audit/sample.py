"""Which reports people mark: a stratified sample, the same for the same seed."""

from collections import defaultdict
from collections.abc import Mapping, Sequence

import pyarrow as pa

from wristmir_ray import keys

STRATUM = ("status", "presence", "trusted")
"""What a stratum is: how the record came about, what it says of the bones, whether the checks trust it."""
Stratum = tuple[str, str, bool]


def strata(audit: pa.Table) -> dict[Stratum, list[str]]:
    """Return the report ids of each stratum of good rows of AUDIT."""
    out: dict[Stratum, list[str]] = defaultdict(list)
    columns = [audit[n].to_pylist() for n in (*STRATUM, "report_id")]
    for status, presence, trusted, report_id in zip(*columns, strict=True):
        out[status, presence, trusted].append(report_id)
    return dict(sorted(out.items()))


def draw(members: Mapping[Stratum, Sequence[str]], size: int, seed: int) -> list[str]:
    """Return `size` report ids in an order of chance: of each stratum its share, of the smallest at least one.

    Inside a stratum and on the sheet, chance is a hash of seed and report: adding reports to an
    archive moves few of the others.
    """
    chosen = [
        report
        for stratum, count in _allocate({s: len(ids) for s, ids in members.items()}, size).items()
        for report in sorted(members[stratum], key=lambda r: _chance(seed, r))[:count]
    ]
    return sorted(chosen, key=lambda r: _chance(seed + 1, r))


def _chance(seed: int, report_id: str) -> str:
    return keys.digest("audit", str(seed), report_id)


def _allocate(sizes: Mapping[Stratum, int], size: int) -> dict[Stratum, int]:
    """Return how many of each stratum: one each while there is room, the rest by largest remainder."""
    total = sum(sizes.values())
    if size >= total:
        return dict(sizes)
    largest = sorted(sizes, key=lambda s: (-sizes[s], s))
    out = {s: 1 if i < size else 0 for i, s in enumerate(largest)}
    for _ in range(size - sum(out.values())):
        open_ = [s for s in largest if out[s] < sizes[s]]
        neediest = max(open_, key=lambda s: size * sizes[s] / total - out[s])
        out[neediest] += 1
    return out
