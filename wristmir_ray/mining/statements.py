"""What a clause says: the unit that the ledger takes.

fracture   a head with its presence, bones, type, displacement, healing, ...
denial     bones said to be intact (`the ulna is normal`), or all of them (`bones are intact`)
attribute  something said of a fracture that another clause named (`there is callus`)
doubt      a hedge without a head (`... but cannot be excluded`)
answer     `yes` or `no` to the question before (`? fracture - none`)
echo       the statement before, of other bones (`and so is the ulna`)
"""

from dataclasses import dataclass, field

from wristmir_ray.anatomy import Presence
from wristmir_ray.mining.terms import Mention
from wristmir_ray.mining.values import Values

MAX_SPAN = 400
"""Characters of the longest quote that carries a statement."""


@dataclass(slots=True)
class Statement:
    """One statement of a clause. `start`, `end`: the characters that carry it."""

    kind: str
    start: int
    end: int
    presence: Presence = Presence.PRESENT
    regions: list[Mention] = field(default_factory=list)
    values: Values = field(default_factory=dict)
    head: str = ""
    """Kind of the head: one, many, line, weak, part, ..., type, combo, deny."""
    known: bool = False
    second: bool = False
    sign: bool = False
    """A mere sign (`widening`) that no word calls a fracture, not even a possible one."""
    latent: bool = False
    plural: bool = False
    whole: bool = False
    """A denial of every bone."""
    rest: bool = False
    """A denial of what was not told before, or of one kind alone (`no other fracture`, `no displaced fracture`)."""
    question: bool = False
    """It asks (`? fracture`, `query fracture`, `rule out fracture`)."""
    corrects: bool = False
    """It stands in an addendum or a correction: a denial takes back what was said of its bones."""
    shared: bool = False
    """An alignment that names no bone: all fractures' (`post-reduction views show anatomic alignment`)."""
    ref: str = ""
    """former, latter or both; of a denial: it; of an echo: same, yes, no or maybe."""
    side: str | None = None
