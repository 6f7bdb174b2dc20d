"""Whether a report is in English: the rules know no other language, and `keine Fraktur` must not become a normal exam.

Reports are telegrams (`# distal radius, undisplaced`), on which detectors trained on prose guess; so this one speaks
up only where small words of another language (`languages.csv`) outweigh the English ones, or another script does.
"""

import re
import unicodedata
from functools import lru_cache
from itertools import pairwise

from wristmir_ray.mining.vocabulary import read_rows

_WORD = re.compile(r"[^\W\d_]+")
_ENGLISH = "english"
_SURE = 3
"""So many foreign words outweigh English ones, if there are more of them."""
_TELLING = 5
"""Letters of a foreign word that is enough by itself where no word is English; of shorter ones it takes two."""


@lru_cache(maxsize=1)
def _languages() -> dict[str, frozenset[str]]:
    return {row["language"]: frozenset(row["words"].replace("_", "\0").split()) for row in read_rows("languages.csv")}


def is_english(report: str) -> bool:
    """Return False for a report that is in another language for certain."""
    words = _WORD.findall(report.lower())
    letters = "".join(words)
    latin = sum(c.isascii() or unicodedata.name(c, "").startswith("LATIN") for c in letters)
    if letters and latin < len(letters) / 2:
        return False
    said = [*words, *("\0".join(pair) for pair in pairwise(words))]
    hits = {name: [w for w in said if w in own] for name, own in _languages().items()}
    english = len(hits.pop(_ENGLISH))
    foreign = max(hits.values(), key=len)
    if english:
        return not (len(foreign) >= _SURE and len(foreign) > english)
    return len(foreign) < 2 and not any(len(w) >= _TELLING for w in foreign)
