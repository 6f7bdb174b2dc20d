"""Whether a report is in English: the rules know no other language, and `keine Fraktur` must not become a normal exam.

Reports are telegrams (`# distal radius, undisplaced`), on which detectors trained on prose guess; so this one speaks
up only where small words of another language (`languages.csv`) outweigh the English ones, or another script does.
"""

import csv
import re
import unicodedata
from functools import lru_cache

from wristmir_ray.mining.vocabulary import read_data

_WORD = re.compile(r"[^\W\d_]+")
_ENGLISH = "english"
_SURE = 3
"""So many foreign words outweigh English ones, if there are more of them; one is enough where there are none."""


@lru_cache(maxsize=1)
def _languages() -> dict[str, frozenset[str]]:
    rows = csv.DictReader(line for line in read_data("languages.csv").splitlines() if not line.startswith("#"))
    return {row["language"]: frozenset(row["words"].split()) for row in rows}


def is_english(report: str) -> bool:
    """Return False for a report that is in another language for certain."""
    words = _WORD.findall(report.lower())
    letters = "".join(words)
    latin = sum(c.isascii() or unicodedata.name(c, "").startswith("LATIN") for c in letters)
    if letters and latin < len(letters) / 2:
        return False
    counts = {name: sum(w in own for w in words) for name, own in _languages().items()}
    english = counts.pop(_ENGLISH)
    foreign = max(counts.values())
    return foreign == 0 or (english > 0 and not (foreign >= _SURE and foreign > english))
