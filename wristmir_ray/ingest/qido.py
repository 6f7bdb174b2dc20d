"""What lies in a DICOMweb archive: its instances, asked for page by page (QIDO-RS)."""

from collections.abc import Iterator, Mapping
from datetime import date, timedelta
from itertools import product
from typing import Any

from wristmir_ray import dicomweb, keys
from wristmir_ray.errors import ConfigError
from wristmir_ray.ingest.config import DicomwebConfig
from wristmir_ray.ingest.listing import Found

_UIDS = {"study": "0020000D", "series": "0020000E", "sop": "00080018"}
_STAMPED = {
    "InstanceCreationDate": "00080012",
    "InstanceCreationTime": "00080013",
    "StudyDate": "00080020",
    "AccessionNumber": "00080050",
    "Modality": "00080060",
    "PatientID": "00100020",
    "PatientBirthDate": "00100030",
    "PatientSex": "00100040",
    "PatientAge": "00101010",
    "BodyPartExamined": "00180015",
    "ViewPosition": "00185101",
    "Laterality": "00200060",
    "ImageLaterality": "00200062",
    "Rows": "00280010",
    "Columns": "00280011",
}
"""What an archive may correct without a new UID: an instance of which one of these changed is read again."""


def access(config: DicomwebConfig) -> dicomweb.Access:
    """Return how the server is asked: the environment's credentials, the configuration's patience."""
    return dicomweb.from_environment(timeout_s=config.timeout_s, attempts=config.attempts)


def list_instances(images: str, config: DicomwebConfig, key: bytes) -> Iterator[Found]:
    """Yield every instance that the filters find; one that changes while pages are turned may come twice.

    Args:
        images: dicomweb+http(s)://host/path.
        config: filters, page size, patience.
        key: the secret; the stamp of an instance is a keyed hash, since it is made of its header.

    Raises:
        ConfigError: no server answers there, it refuses, or the filters find nothing.
    """
    server, patience = dicomweb.server_of(images), access(config)
    count = 0
    for filters in _queries(config):
        for answer in _pages(server, filters, config, patience):
            count += 1
            yield _found(server, answer, key)
    if not count:
        raise ConfigError(f"no instance at {server} fits the filters of the section dicomweb; widen them")


def _queries(config: DicomwebConfig) -> Iterator[dict[str, str]]:
    """Yield the filters of each query: one a modality, body part and stretch of days."""
    for modality, part, dates in product(config.modalities or [""], config.body_parts or [""], _dates(config)):
        given = {"Modality": modality, "BodyPartExamined": part, "StudyDate": dates}
        yield {name: value for name, value in given.items() if value}


def _dates(config: DicomwebConfig) -> list[str]:
    first, last = config.study_date_from, config.study_date_to
    if not (first and last and config.days_per_query):
        return [_range(first, last) if first or last else ""]
    step = timedelta(days=config.days_per_query)
    starts = [first + i * step for i in range((last - first) // step + 1)]
    return [_range(start, min(start + step - timedelta(days=1), last)) for start in starts]


def _range(first: date | None, last: date | None) -> str:
    return "-".join(f"{d:%Y%m%d}" if d else "" for d in (first, last))


def _pages(
    server: str, filters: Mapping[str, str], config: DicomwebConfig, patience: dicomweb.Access
) -> Iterator[Mapping[str, Any]]:
    offset, before = 0, None
    while True:
        page = _ask(server, filters, offset, config.page_size, patience)
        if not page:
            return
        first = _value(page[0], _UIDS["sop"])
        if first == before:
            raise ConfigError(f"DICOMweb server {server} gives the same page twice (it ignores offset); cannot list it")
        yield from page
        offset, before = offset + len(page), first


def _ask(
    server: str, filters: Mapping[str, str], offset: int, limit: int, patience: dicomweb.Access
) -> list[Mapping[str, Any]]:
    """Return one page of answers; one clear line where there is none to be had."""

    def search() -> list[Mapping[str, Any]]:
        client = dicomweb.client(server, patience)
        found: list[Mapping[str, Any]] = client.search_for_instances(
            limit=limit, offset=offset, fields=list(_STAMPED.values()), search_filters=dict(filters)
        )
        return found

    try:
        return dicomweb.patiently(search, patience)
    except Exception as e:
        raise ConfigError(f"DICOMweb server {server} cannot be listed: {_mend(e)}") from None


def _mend(error: Exception) -> str:
    match dicomweb.why(error):
        case "HTTP status 401" | "HTTP status 403" as status:
            names = f"{dicomweb.TOKEN}, or {dicomweb.USER} and {dicomweb.PASSWORD}"
            return f"{status}; set the environment's {names} to credentials that may read it"
        case "HTTP status 404" as status:
            return f"{status}; check the path behind the host"
        case "ConnectionError" | "ConnectTimeout" | "ReadTimeout" as kind:
            return f"it does not answer ({kind}); check host, port and network"
        case "SSLError" as kind:
            return f"its certificate is not trusted ({kind}); name its authority in REQUESTS_CA_BUNDLE"
        case kind:
            return kind


def _found(server: str, answer: Mapping[str, Any], key: bytes) -> Found:
    uids = {name: _value(answer, tag) for name, tag in _UIDS.items()}
    try:
        uri = dicomweb.address(server, **uids)
    except ValueError:
        raise ConfigError(f"DICOMweb server {server} lists an instance without its UIDs; cannot fetch it") from None
    stamp = "\0".join(_value(answer, tag) for tag in _STAMPED.values())
    return Found(uri, None, keys.keyed(key, "stamp", stamp))


def _value(answer: Mapping[str, Any], tag: str) -> str:
    """Return an attribute's first value as text, "" where the server gives none."""
    element = answer.get(tag)
    values = element.get("Value") if isinstance(element, Mapping) else None
    return str(values[0]) if isinstance(values, list) and values else ""
