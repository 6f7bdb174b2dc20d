"""What is burned in: names, dates, ids and hospitals. All are invented."""

from collections.abc import Callable

import numpy as np

_FAMILY = (
    *("Musterfrau", "Mustermann", "Testmann", "Beispiel", "Probst-Muster", "Exempla", "Sampleton", "Fictley"),
    *("Nomura-Test", "Ohneland", "Irgendwer", "Phantomer", "Lidl-Ersatz", "Kieselstein", "Wu", "Abt"),
    *("Quastenfloh", "Nimmermehr", "O'Phantom", "Zzyx"),
)
_GIVEN = (
    *("Erika", "Max", "Anna", "Lilli", "Tim", "Jo", "Maximilian", "Ida", "Otto", "Zoe", "Benedikt", "Mia", "Ilvy"),
    *("Jill", "Konstantin", "Ann-Kathrin"),
)
_PLACES = ("Musterstadt", "Nirgendheim", "Phantomburg", "Beispielthal", "Samplewood", "Testingen")
_HOUSES = (
    "Kinderklinik",
    "Children's Hospital",
    "KH",
    "LKH",
    "St. Exempla",
    "Univ.-Klinik",
    "Radiologie",
    "X-RAY DEPT",
)


def _pick(rng: np.random.Generator, words: tuple[str, ...]) -> str:
    return words[int(rng.integers(len(words)))]


def name(rng: np.random.Generator) -> str:
    """Return a patient's name as consoles write it."""
    family, given = _pick(rng, _FAMILY), _pick(rng, _GIVEN)
    out = _pick(rng, (f"{family}, {given}", f"{given} {family}", f"{family}^{given}", f"{family}, {given[0]}.", family))
    out = out if sum(c.isalpha() for c in out) >= 5 else f"{family}, {given}"
    return out.upper() if rng.random() < 0.5 else out


def date(rng: np.random.Generator) -> str:
    """Return a date, of birth or of the exam, of five figures or more: shorter lines are not promised to be found."""
    y, m, d = int(rng.integers(1995, 2025)), int(rng.integers(1, 13)), int(rng.integers(1, 29))
    written = _pick(
        rng,
        (
            f"{d:02d}.{m:02d}.{y}",
            f"{m:02d}/{d:02d}/{y}",
            f"{y}-{m:02d}-{d:02d}",
            f"{d:02d}-{m}-{y % 100:02d}",
            f"{y}{m:02d}{d:02d}",
        ),
    )
    return _pick(rng, ("", "*", "DOB ", "geb. ", "")) + written + _pick(rng, ("", "", " 14:07", " 09:31:22"))


def identifier(rng: np.random.Generator) -> str:
    """Return a patient's or study's number."""
    digits = "".join(str(d) for d in rng.integers(0, 10, int(rng.integers(5, 11))))
    return _pick(rng, ("ID ", "ID: ", "PID", "Acc# ", "", "MRN ", "P")) + digits


def hospital(rng: np.random.Generator) -> str:
    """Return a hospital's name."""
    house, place = _pick(rng, _HOUSES), _pick(rng, _PLACES)
    out = f"{house} {place}"
    return out.upper() if rng.random() < 0.4 else out


_KINDS: tuple[Callable[[np.random.Generator], str], ...] = (name, date, identifier, hospital)


def lines(rng: np.random.Generator, at_most: int = 4) -> list[str]:
    """Return one to four lines."""
    count = int(rng.integers(1, at_most + 1))
    first = int(rng.integers(len(_KINDS)))
    return [_KINDS[(first + k) % len(_KINDS)](rng) for k in range(count)]
