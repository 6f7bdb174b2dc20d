"""The tables' contract: a change of a column, a type or a key is a change of this snapshot.

After a wanted change: python -m tests.contract.test_golden_schemas, and a line under *Tables* in CHANGELOG.md
"""

import json
from pathlib import Path

from wristmir_ray.schemas import TABLES, embeddings
from wristmir_ray.tables import Table

SNAPSHOT = Path(__file__).with_name("schemas.json")


def declared() -> dict[str, dict[str, object]]:
    tables: list[Table] = [*TABLES.values(), embeddings(512)]
    return {t.name: {"key": list(t.key), "columns": {f.name: str(f.type) for f in t.schema}} for t in tables}


def test_the_tables_are_the_snapshot() -> None:
    assert declared() == json.loads(SNAPSHOT.read_text())


if __name__ == "__main__":
    SNAPSHOT.write_text(json.dumps(declared(), indent=1) + "\n")
