"""Every table, declared once.

Keys derive from content (`storage.keys`): never row numbers, never an identifier that links to a
patient outside. Every table carries `error` (null = good row) with its stage and a message that
holds no patient text. A job's rows are published by `storage.publish`; readers see published
runs only.
"""

import pyarrow as pa

from wristmir_ray.tables import Table

_ERROR = [("error", pa.string()), ("error_stage", pa.string()), ("error_message", pa.string())]
_BOX = [("x0_px", pa.float32()), ("y0_px", pa.float32()), ("x1_px", pa.float32()), ("y1_px", pa.float32())]

EVIDENCE = pa.struct(
    [
        ("field", pa.string()),
        ("quote", pa.string()),
        ("start", pa.int32()),
        ("end", pa.int32()),
        ("section", pa.string()),
    ]
)
"""A verbatim quote for one field: `report[start:end] == quote`; start = -1 when ungrounded."""

FINDING = pa.struct(
    [
        ("region", pa.string()),
        ("side", pa.string()),
        ("presence", pa.string()),
        ("fracture_type", pa.string()),
        ("displacement", pa.string()),
        ("angulation_direction", pa.string()),
        ("angulation_deg", pa.float32()),
        ("alignment", pa.string()),
        ("healing", pa.string()),
        ("physis_involved", pa.bool_()),
        ("evidence", pa.list_(EVIDENCE)),
    ]
)
"""One finding of a report (WristMIR §2.3)."""


def _schema(*columns: tuple[str, pa.DataType]) -> pa.Schema:
    return pa.schema([*columns, *_ERROR])


EXAMS = Table(
    "exams",
    ("source_id",),
    _schema(
        ("source_id", pa.string()),
        ("exam_id", pa.string()),
        ("patient_id", pa.string()),
        ("study_id", pa.string()),
        ("report_id", pa.string()),
        ("source_uri", pa.string()),
        ("format", pa.string()),
        ("laterality", pa.string()),
        ("view", pa.string()),
        ("age_years", pa.float32()),
        ("sex", pa.string()),
        ("study_date", pa.date32()),
        ("rows", pa.int32()),
        ("cols", pa.int32()),
        ("bits", pa.int32()),
        ("pixel_id", pa.string()),
        ("split", pa.string()),
        ("conflicts", pa.list_(pa.string())),
    ),
)
"""A row is one source object; `exam_id` is null where it was rejected before its pixels were read. `conflicts` names
the fields in which table and header differ: the table's value stands; sides that differ are a reject. `pixel_id` is
`keys.pixel_id` of what ingest has decoded: whoever reads the object again can tell that it is still the exam."""

SOURCES = Table(
    "sources",
    ("source_id",),
    _schema(
        ("source_id", pa.string()),
        ("source_uri", pa.string()),
        ("format", pa.string()),
        ("rows", pa.int32()),
        ("cols", pa.int32()),
        ("bits", pa.int32()),
        ("pixel_id", pa.string()),
        ("exam_id", pa.string()),
        ("patient_id", pa.string()),
        ("study_id", pa.string()),
        ("laterality", pa.string()),
        ("view", pa.string()),
        ("age_years", pa.float32()),
        ("sex", pa.string()),
        ("study_date", pa.date32()),
    ),
)
"""A row is one object that was read: what its pixels and its header say, and no table. The next run takes it over."""

REPORTS = Table("reports", ("report_id",), _schema(("report_id", pa.string()), ("text", pa.string())))
"""A row is one distinct report text."""

FINDINGS = Table(
    "findings",
    ("report_id",),
    _schema(
        ("report_id", pa.string()),
        ("status", pa.string()),
        ("failure_class", pa.string()),
        ("engine", pa.string()),
        ("model_digest", pa.string()),
        ("prompt_version", pa.string()),
        ("tokens_in", pa.int32()),
        ("tokens_cached", pa.int32()),
        ("tokens_out", pa.int32()),
        ("attempts", pa.int32()),
        ("flags", pa.list_(pa.string())),
        ("side", pa.string()),
        ("views", pa.list_(pa.string())),
        ("bone_quality", pa.string()),
        ("immobilisation", pa.string()),
        ("hardware", pa.bool_()),
        ("ossification", pa.string()),
        ("other", pa.list_(pa.string())),
        ("findings", pa.list_(FINDING)),
        ("evidence", pa.list_(EVIDENCE)),
    ),
)
"""A row is one report's structured record; status is ok, repaired or rejected; flags are those of `mining/flags.py`."""

ATTEMPTS = Table(
    "attempts", ("report_id",), pa.schema([*FINDINGS.schema, ("text", pa.string()), ("hint", pa.string())])
)
"""A row is what a language model's first answer came to: a row of FINDINGS, or status `open` with the report's
text and the hint for a second try. An intermediate table of the mining job."""

AUDIT = Table(
    "audit",
    ("report_id",),
    _schema(
        ("report_id", pa.string()),
        ("status", pa.string()),
        ("engine", pa.string()),
        ("presence", pa.string()),
        ("fields", pa.list_(pa.string())),
        ("quotes", pa.int32()),
        ("quotes_lost", pa.int32()),
        (
            "conflicts",
            pa.list_(pa.struct([("finding", pa.int32()), ("field", pa.string()), ("kind", pa.string())])),
        ),
        ("rules_disagree", pa.list_(pa.string())),
        ("trusted", pa.bool_()),
    ),
)
"""A row is one report's record, checked. `presence`: what it says of the three bones together, e.g. absent+present;
`fields`: the field of each of its values; `quotes_lost`: quotes that do not stand where the record says; conflicts
name a value (finding -1 = the exam's own) and a kind of `audit/checks.py`; trusted = no conflict."""

CAPTIONS = Table(
    "captions",
    ("exam_id", "region"),
    _schema(
        ("exam_id", pa.string()),
        ("region", pa.string()),
        ("caption", pa.string()),
        ("caption_id", pa.string()),
        ("presence", pa.string()),
        ("fracture_type", pa.string()),
        ("healing", pa.string()),
        ("split", pa.string()),
    ),
)
"""A row is exam x region. `presence`, `fracture_type`, `healing` are the labels of DESIGN 6: those of
the region's main finding (for the wrist: present if any bone's is); presence null = unmentioned."""

CAPTIONED = Table(
    "captioned",
    ("source_id",),
    _schema(
        ("source_id", pa.string()),
        ("exam_id", pa.string()),
        ("split", pa.string()),
        (
            "captions",
            pa.list_(
                pa.struct(
                    [
                        ("region", pa.string()),
                        ("caption", pa.string()),
                        ("caption_id", pa.string()),
                        ("presence", pa.string()),
                        ("fracture_type", pa.string()),
                        ("healing", pa.string()),
                    ]
                )
            ),
        ),
        (
            "fractures",
            pa.list_(pa.struct([("region", pa.string()), ("fracture_type", pa.string()), ("healing", pa.string())])),
        ),
    ),
)
"""What the mining job writes while it captions: one row an exam. Publishing explodes it into CAPTIONS;
`fractures` (those present) feed the counts of the paper's Table 3."""

REGIONS = Table(
    "regions",
    ("exam_id", "region"),
    _schema(
        ("exam_id", pa.string()),
        ("region", pa.string()),
        *_BOX,
        ("score", pa.float32()),
        ("detector_digest", pa.string()),
    ),
)
"""A row is exam x region with its box in pixels of the source image; a missing bone is `no_region`."""

CROPS = Table(
    "crops",
    ("exam_id", "region"),
    _schema(
        ("exam_id", pa.string()),
        ("region", pa.string()),
        ("png", pa.binary()),
        ("rows", pa.int32()),
        ("cols", pa.int32()),
        ("split", pa.string()),
        ("preprocess_version", pa.string()),
    ),
    row_group_size=64,
)
"""A row is exam x region: the enhanced crop as lossless 8-bit grey PNG, zero-padded to a square."""

PREPROCESSED = Table(
    "preprocessed",
    ("source_id",),
    _schema(
        ("source_id", pa.string()),
        ("exam_id", pa.string()),
        ("split", pa.string()),
        (
            "regions",
            pa.list_(
                pa.struct(
                    [
                        ("region", pa.string()),
                        *_BOX,
                        ("score", pa.float32()),
                        ("png", pa.binary()),
                        ("rows", pa.int32()),
                        ("cols", pa.int32()),
                        ("error", pa.string()),
                    ]
                )
            ),
        ),
    ),
    row_group_size=64,
)
"""What the preprocess job writes while it runs: one row an exam, so that a resume cannot lose a crop.
Publishing explodes it into REGIONS and CROPS; it is never published itself."""


def embeddings(dim: int) -> Table:
    """Return the EMBEDDINGS table for a width of `dim`: a row is exam x region, unit-norm float32."""
    return Table(
        "embeddings",
        ("exam_id", "region"),
        _schema(
            ("exam_id", pa.string()),
            ("region", pa.string()),
            ("embedding", pa.fixed_shape_tensor(pa.float32(), [dim])),
            ("encoder_digest", pa.string()),
            ("split", pa.string()),
        ),
    )


def pixels(side_px: int) -> Table:
    """Return the PIXELS table for a side: a row is exam x region, decoded and resized once for training.

    It is written as uncompressed Arrow files that training maps into memory; never published.
    """
    return Table(
        "pixels",
        ("exam_id", "region"),
        _schema(
            ("exam_id", pa.string()),
            ("region", pa.string()),
            ("pixels", pa.fixed_shape_tensor(pa.uint8(), [side_px, side_px])),
        ),
    )


_HIT = [
    ("region", pa.string()),
    ("mode", pa.string()),
    ("final_rank", pa.int32()),
    ("exam_id", pa.string()),
    ("stage1_rank", pa.int32()),
    ("global_score", pa.float32()),
    ("region_score", pa.float32()),
    ("fallback", pa.string()),
]

HITS = Table("hits", ("query_exam_id", "region", "mode", "final_rank"), _schema(("query_exam_id", pa.string()), *_HIT))
"""A row is query x region x mode x rank; ranks start at 1."""

SEARCHED = Table(
    "searched",
    ("query_exam_id",),
    _schema(("query_exam_id", pa.string()), ("hits", pa.list_(pa.struct(_HIT)))),
)
"""What the evaluate job writes while it runs: one row a query. Publishing explodes it into HITS."""

TABLES = {t.name: t for t in (SOURCES, EXAMS, REPORTS, FINDINGS, AUDIT, CAPTIONS, REGIONS, CROPS, HITS)}
