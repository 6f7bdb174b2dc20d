"""What a grown archive takes over from an earlier run of preprocess: nothing, where that one's files are gone."""

from pathlib import Path

from tests.fakes import publish_archive
from wristmir_ray import storage
from wristmir_ray.preprocess.unchanged import unchanged_exams
from wristmir_ray.schemas import CROPS, EXAMS


def test_a_run_whose_files_were_deleted_gives_nothing(tmp_path: Path) -> None:
    root = str(tmp_path)
    publish_archive(root, exams=8)
    exams, crops = (storage.published(root, t.name) for t in (EXAMS, CROPS))
    earlier = storage.Manifest(CROPS.name, crops.run_id, "test", inputs={EXAMS.name: exams.run_id})
    rows = unchanged_exams(root, exams.run_id)
    assert sum(part.num_rows for part in rows(earlier)) > 0
    for file in storage.table_files(root, crops):
        storage.delete(file)
    assert list(rows(earlier)) == []
