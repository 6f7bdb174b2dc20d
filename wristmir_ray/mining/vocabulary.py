"""The vocabulary: the CSV files of this package as terms, with every wording written out.

`terms.csv` holds the clinical terms of fractures, `cues.csv` the words of negation and hedging, `remarks.csv` what
else reports remark.
"""

import csv
import itertools
from collections.abc import Iterator
from functools import lru_cache
from importlib import resources

from wristmir_ray.mining.terms import Term, TermTable

_GRADES = {
    "salter_harris_i": "i 1 one 1st",
    "salter_harris_ii": "ii 2 two ll 11 2nd",
    "salter_harris_iii": "iii 3 three 3rd",
    "salter_harris_iv": "iv 4 four 4th",
    "salter_harris_v": "v 5 five 5th",
}
_SALTER = (
    "salter harris",
    "salter",
    "sh",
    "s h",
    "salter harris sh",
    "s / h",
    "salterharris",
    "saltar harris",
    "salter and harris",
    "s . h .",
    "s . h",
)
_BETWEEN = (
    "",
    "type",
    "grade",
    "class",
    "( sh )",
    "( sh ) type",
    "fracture type",
    "injury type",
    "fracture , type",
    "classification",
    "configuration",
)


def expand(phrase: str) -> Iterator[str]:
    """Yield every wording of a phrase: `a|b` alternatives, `c?` optional, `_` a blank, a lone `?` itself."""
    choices = []
    for word in phrase.split():
        optional = len(word) > 1 and word.endswith("?")
        options = word.removesuffix("?").split("|") if optional else word.split("|")
        choices.append([*options, ""] if optional else options)
    for words in itertools.product(*choices):
        yield " ".join(w.replace("_", " ") for w in words if w)


def read_data(name: str) -> str:
    """Return the text of a data file of this package."""
    return resources.files(__package__).joinpath(name).read_text(encoding="utf-8")


def read_rows(name: str) -> list[dict[str, str]]:
    """Return the rows of a CSV file of this package; a line that starts with # is a comment."""
    return list(csv.DictReader(line for line in read_data(name).splitlines() if not line.startswith("#")))


def read_terms(name: str) -> list[tuple[Term, str]]:
    """Return the terms of a CSV file of this package, each with every wording of it."""
    out = []
    for row in read_rows(name):
        term = Term(row["kind"], row["value"], row["rid"], row["preferred"])
        wordings = {w for p in row["phrases"].split(";") for w in expand(p.strip()) if w}
        out += [(term, w) for w in sorted(wordings)]
    return out


def _salter() -> list[tuple[Term, str]]:
    out = []
    rid = {f"salter_harris_{g}": f"RID{4684 + i}" for i, g in enumerate(("i", "ii", "iii", "iv", "v"), 1)}
    for value, numerals in _GRADES.items():
        grade = value.removeprefix("salter_harris_")
        term = Term("type", value, rid[value], f"Salter-Harris type {grade.upper()} fracture")
        for name, between, n in itertools.product(_SALTER, _BETWEEN, numerals.split()):
            out.append((term, " ".join(f"{name} {between} {n}".split())))
        for n in numerals.split():
            out += [(term, f"type {n} {w}") for w in (*_SALTER, "physeal", "growth plate", "epiphyseal")]
            out += [
                (term, f"{word} {n} of {w}")
                for word in ("type", "grade")
                for w in ("salter harris", "the salter harris")
            ]
            out += [(term, f"grade {n} {w}") for w in _SALTER] + [(term, f"{n} {w}") for w in _SALTER[:1]]
        out += [(term, f"sh{n}") for n in numerals.split()] + [(term, f"salter{grade}")]
        grades = Term("grade", value, rid[value], "")
        out += [(grades, f"{word} {n}") for word in ("type", "grade", "class") for n in numerals.split()]
    generic = Term("type", "salter_harris", "RID4684", "Salter-Harris fracture")
    return out + [(generic, name) for name in (*_SALTER, "salter harris ( sh )", "salter harris type")]


def fracture_terms() -> list[tuple[Term, str]]:
    """Return the clinical terms of fractures with their wordings."""
    return [*read_terms("terms.csv"), *_salter()]


@lru_cache(maxsize=1)
def load_terms() -> TermTable:
    """Return the table of fractures and cues, read once a process."""
    return TermTable(fracture_terms(), read_terms("cues.csv"))


@lru_cache(maxsize=1)
def load_remarks() -> TermTable:
    """Return the table of what else reports remark, read once a process."""
    return TermTable(read_terms("remarks.csv"), ())


def radlex(kind: str, value: str) -> str:
    """Return the RadLex identifier of a canonical value, empty where RadLex has none."""
    terms = itertools.chain(fracture_terms(), read_terms("remarks.csv"))
    rows = [t for t, _ in terms if (t.kind, t.value) == (kind, value)]
    return rows[0].rid if rows else ""
