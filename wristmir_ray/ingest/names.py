"""Which row of the metadata table belongs to which file.

A row's name is the end of a file's path (whole parts), or the file's name without extension. So a
name's last part is the file's own name or its stem, and whatever belongs together meets at one
*place*, a hash of the stem: tables are matched place by place.
"""

from collections.abc import Mapping

import pyarrow as pa

from wristmir_ray import keys


def normal(name: str | None) -> str:
    """Return a name as the table means it: forward slashes, no ./ before it; "" for none."""
    return (name or "").strip().replace("\\", "/").removeprefix("./").strip("/")


def place(uri: str) -> str:
    """Return where an object is matched."""
    return keys.digest("name", _stem(_parts(uri)[-1]))


def places(name: str) -> set[str]:
    """Return where a table's name may be asked for: as a file's name, and as a stem."""
    last = name.rpartition("/")[2]
    return {keys.digest("name", last), keys.digest("name", _stem(last))}


def candidates(uri: str) -> list[str]:
    """Return what a table may call an object: ends of its path, longest first, then its stem."""
    parts = _parts(uri)
    return ["/".join(parts[i:]) for i in range(len(parts))] + [_stem(parts[-1])]


def _parts(uri: str) -> list[str]:
    return uri.rpartition("://")[2].strip("/").split("/")


def _stem(name: str) -> str:
    """Return a file's name without extension; digits are none, or a UID would lose its last number."""
    stem, _, extension = name.rpartition(".")
    return name if not stem or extension.isdigit() else stem


def match(uris: list[str], rows: Mapping[str, int]) -> pa.Array:
    """Return for each address the row that names it, null where none does.

    Args:
        uris: addresses of objects.
        rows: normal name -> row.
    """
    found = [next((rows[name] for name in candidates(uri) if name in rows), None) for uri in uris]
    return pa.array(found, pa.int64())
