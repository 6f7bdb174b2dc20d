"""True boxes as labelling tools write them: our Parquet, COCO, Pascal VOC, YOLO."""

import json
import xml.etree.ElementTree as ET
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any, Literal

import pyarrow as pa
import pyarrow.parquet as pq
import yaml

from wristmir_ray import storage
from wristmir_ray.anatomy import Region
from wristmir_ray.errors import ConfigError

Format = Literal["parquet", "coco", "voc", "yolo"]
_COLUMNS = ("file", "region", "x0_px", "y0_px", "x1_px", "y1_px")
_EXTENSIONS = (".png", ".jpg", ".jpeg", ".dcm", ".dicom")


@dataclass(frozen=True, slots=True)
class Label:
    """One true box."""

    file: str
    """The image's path, or the end of it; without extension where the format knows none (YOLO)."""
    region: Region
    corners: tuple[float, float, float, float]
    """xyxy, half-open: pixels of the source image, or shares of its sides where `shares`."""
    shares: bool = False


def read_labels(uri: str, names: Mapping[str, Region]) -> list[Label]:
    """Return the true boxes at `uri`; labels that `names` does not map are left out.

    A .parquet file holds file, region, x0_px, y0_px, x1_px, y1_px; a .json file is COCO; a .yaml file
    is YOLO's data.yaml, its label files lie in folders named `labels` below it; a folder or an .xml
    file is Pascal VOC.

    Args:
        uri: file or folder, local or s3://.
        names: the tool's name of a class, lower case -> region; regions' own names always count.

    Raises:
        ConfigError: it cannot be read, is none of these, or none of its classes is a region.
    """
    known = {**{r.value: r for r in Region}, **{n.casefold(): r for n, r in names.items()}}
    try:
        found = list(_READERS[_format(uri)](uri))
    except ConfigError:
        raise
    except (
        OSError,
        ValueError,
        LookupError,
        TypeError,
        AttributeError,
        ET.ParseError,
        yaml.YAMLError,
        pa.ArrowException,
    ) as e:
        raise ConfigError(
            f"cannot read boxes {uri} ({type(e).__name__}); give Parquet, COCO .json, YOLO data.yaml or a VOC folder"
        ) from None
    classes = {name.casefold() for _, name, *_ in found}
    if found and not classes & known.keys():
        raise ConfigError(f"boxes {uri} know the classes {sorted(classes)[:10]}; map them by setting 'classes'")
    return [
        Label(file, known[name.casefold()], corners, shares)
        for file, name, corners, shares in found
        if name.casefold() in known
    ]


_Found = tuple[str, str, tuple[float, float, float, float], bool]


def _format(uri: str) -> Format:
    kinds: dict[str, Format] = {".parquet": "parquet", ".json": "coco", ".yaml": "yolo", ".yml": "yolo"}
    return kinds.get(PurePosixPath(uri).suffix.lower(), "voc")


def _read_parquet(uri: str) -> Iterator[_Found]:
    table = pq.read_table(pa.BufferReader(storage.read_bytes(uri)))
    missing = set(_COLUMNS) - set(table.column_names)
    if missing:
        raise ConfigError(f"boxes {uri} lack the columns {sorted(missing)}")
    for row in table.select(list(_COLUMNS)).to_pylist():
        yield row["file"], row["region"], (row["x0_px"], row["y0_px"], row["x1_px"], row["y1_px"]), False


def _read_coco(uri: str) -> Iterator[_Found]:
    whole: Any = json.loads(storage.read_bytes(uri))
    files = {i["id"]: i["file_name"] for i in whole["images"]}
    names = {c["id"]: c["name"] for c in whole["categories"]}
    for a in whole["annotations"]:
        if not a.get("iscrowd"):
            x, y, w, h = map(float, a["bbox"])
            yield files[a["image_id"]], names[a["category_id"]], (x, y, x + w, y + h), False


def _read_voc(uri: str) -> Iterator[_Found]:
    for file in [uri] if uri.endswith(".xml") else storage.list_files(uri, ".xml"):
        root = ET.fromstring(storage.read_bytes(file))
        name = root.findtext("filename") or PurePosixPath(file).stem
        for found in root.iter("object"):
            box = {n: float(found.findtext(f"bndbox/{n}") or "nan") for n in ("xmin", "ymin", "xmax", "ymax")}
            # pixels are counted from 1, and the last one belongs to the box
            corners = (box["xmin"] - 1, box["ymin"] - 1, box["xmax"], box["ymax"])
            yield name, found.findtext("name") or "", corners, False


def _read_yolo(uri: str) -> Iterator[_Found]:
    description: Any = yaml.safe_load(storage.read_bytes(uri))
    listed = description["names"]
    names = dict(enumerate(listed)) if isinstance(listed, list) else {int(k): v for k, v in listed.items()}
    folder = uri.rpartition("/")[0] or "."
    for file in storage.list_files(folder, ".txt"):
        parts = PurePosixPath(file).parts
        if "labels" not in parts[:-1]:
            continue
        stem = PurePosixPath(file).stem
        for line in storage.read_bytes(file).decode().splitlines():
            if line.strip():
                number, x, y, w, h = line.split()[:5]
                cx, cy, dx, dy = float(x), float(y), float(w) / 2, float(h) / 2
                yield stem, names[int(number)], (cx - dx, cy - dy, cx + dx, cy + dy), True


_READERS = {"parquet": _read_parquet, "coco": _read_coco, "voc": _read_voc, "yolo": _read_yolo}


def stem(file: str) -> str:
    """Return a path without the extension of an image."""
    return next((file[: -len(e)] for e in _EXTENSIONS if file.lower().endswith(e)), file)
