"""The de-identification gate: an image that seems to name a person goes to quarantine, never to an index.

Two questions are asked. Does the header hold direct identifiers (`identifiers`), other than the dummy
values that de-identification leaves behind? Is there a line of small letters or figures in the stored
pixels (`burned_in`)? A message names the attributes or says where in the picture, never what.
"""

import re

from wristmir_ray.errors import ErrorCode, Reject
from wristmir_ray.imaging.burned_in import find_text
from wristmir_ray.imaging.config import DeidConfig, Identifier
from wristmir_ray.imaging.identifiers import Held
from wristmir_ray.imaging.radiograph import Header, Radiograph

_NAMES = {Identifier.PATIENT_NAME, Identifier.RELATIVE, Identifier.STAFF}
_BOXES_TOLD = 3
_BETWEEN_WORDS = re.compile(r"[\s^,=;]+")
_DAY = re.compile(r"(\d{4})[-.]?(\d{2})[-.]?(\d{2})")


def check(image: Radiograph, config: DeidConfig) -> None:
    """Reject an image that seems to name a person.

    Args:
        image: a decoded image; its stored pixels are judged at full size, before any window.
        config: which attributes count, which values are dummies, the threshold for text.

    Raises:
        Reject: identified, burned_in_text. The message holds no value of the header.
    """
    if image.header is not None:
        check_header(image.header, config)
    if not config.burned_in_text:
        return
    found = find_text(image.stored)
    lines = [line for line in found if line.score >= config.min_score]
    if lines:
        where = ", ".join(str(line.box) for line in lines[:_BOXES_TOLD])
        more = f" and {len(lines) - _BOXES_TOLD} more" if len(lines) > _BOXES_TOLD else ""
        raise Reject(ErrorCode.BURNED_IN_TEXT, f"lines of text at (x0, y0, x1, y1) px: {where}{more}")


def check_header(header: Header, config: DeidConfig) -> None:
    """Reject an image whose header names a person, or says that its pixels do.

    Raises:
        Reject: identified, burned_in_text.
    """
    found = [held for held in header.held if identifies(held, header.patient_id, config)]
    keywords = dict.fromkeys(held.keyword for held in found if held.kind != Identifier.BURNED_IN)
    if keywords:
        raise Reject(ErrorCode.IDENTIFIED, f"the header holds {', '.join(keywords)}")
    if found:
        raise Reject(ErrorCode.BURNED_IN_TEXT, "the header's BurnedInAnnotation says yes")


def identifies(held: Held, patient_id: str | None, config: DeidConfig) -> bool:
    """Return whether a value counts: its kind is looked for, and it is no dummy.

    A birth date counts with its day (1 January stands for a year alone); a name as `_is_name` says; the
    patient's id, wherever it stands, is the archive's pseudonym.
    """
    if held.kind is Identifier.PRIVATE:
        return held.kind in config.quarantine and held.keyword.split()[-1] in config.private_groups
    if held.kind not in config.quarantine or held.keyword in config.ignore or held.value == patient_id:
        return False
    if held.kind is Identifier.BURNED_IN:
        return held.value.upper() == "YES"
    if config.dummies.match(held.value.upper()) or not re.search(r"[^\W_]", held.value):
        return False
    if held.kind is Identifier.BIRTH_DATE:
        day = _DAY.fullmatch(held.value)
        return day is not None and day[2] + day[3] != "0101" and day[2] != "00"
    return held.kind not in _NAMES or _is_name(held.value)


def _is_name(value: str) -> bool:
    """Return whether a value reads as a person's name: two words of letters, or one where no digit is near.

    Codes are no names: OP1, TCGA-AB-1234, Site^0007; nor are initials.
    """
    words = [w for w in _BETWEEN_WORDS.split(value) if re.search(r"[^\W\d_]", w)]
    letters = [w for w in words if not re.search(r"[\d_]", w) and len(w) >= 2]
    if len(letters) >= 2:
        return True
    whole = len(letters) == 1 and len(letters[0]) >= 3
    return whole and re.search(r"\d", value) is None
