"""An exam's image: found by its id, read, checked; and what cannot be shown, without an address in it."""

import logging
from pathlib import Path

import numpy as np
import pytest

from wristmir_ray import keys, schemas, storage
from wristmir_ray.errors import ErrorCode, NotPublished, Reject, StoreFailed
from wristmir_ray.imaging.config import DecodeConfig
from wristmir_ray.imaging.crop import decode_png, encode_png
from wristmir_ray.imaging.decode import decode
from wristmir_ray.serving import api
from wristmir_ray.serving.images import Image, Painter
from wristmir_ray.serving.whereabouts import Source, Whereabouts
from wristmir_ray.sources import read_source
from wristmir_ray.tables import conform

RUN = "r1"
SECRET = "the-patient-s-folder"


def picture(seed: int, rows: int = 96, cols: int = 64) -> bytes:
    return encode_png(np.random.default_rng(seed).integers(0, 256, (rows, cols)).astype(np.uint8))


def publish(root: str, exams: list[dict[str, object]], per_file: int = 5, run: str = RUN) -> None:
    table = conform(exams, schemas.EXAMS).sort_by("source_id")
    folder = storage.run_uri(root, "exams", run)
    names = []
    for start in range(0, max(1, len(exams)), per_file):
        names.append(f"{start}.parquet")
        storage.write_parquet(table.slice(start, per_file), storage.join(folder, names[-1]), row_group_size=2)
    storage.publish(root, storage.Manifest("exams", run, "test", schema=schemas.EXAMS.fingerprint, files=names))


def exam(n: int, uri: str = "", pixel_id: str = "p", error: str | None = None) -> dict[str, object]:
    exam_id = keys.digest("exam", str(n))
    return {
        "source_id": keys.digest("source", str(n)),
        "exam_id": None if error == "empty_file" else exam_id,
        "source_uri": uri or f"{n}.png",
        "pixel_id": pixel_id,
        "error": error,
    }


def test_every_good_row_is_found_and_no_other(tmp_path: Path) -> None:
    root = str(tmp_path)
    good = [exam(n) for n in range(17)]
    double = exam(3, "copy.png", error="duplicate_exam") | {"source_id": "0" * 32}
    publish(root, [*good, double, exam(99, error="corrupt_image"), exam(98, error="empty_file")])
    where = Whereabouts(root)
    for row in good:
        assert where.find(RUN, str(row["exam_id"])) == Source(str(row["source_uri"]), "p")
    for n in (98, 99, 100):
        assert where.find(RUN, keys.digest("exam", str(n))) is None
    assert where.find(RUN, "0" * 32) is None
    assert where.find(RUN, "f" * 32) is None


def test_runs_are_told_apart_and_an_empty_one_holds_nobody(tmp_path: Path) -> None:
    root = str(tmp_path)
    for n, run in enumerate(("a", "b", "c")):
        publish(root, [exam(1, f"{n}.png")], run=run)
    publish(root, [], run="empty")
    where = Whereabouts(root)
    exam_id = keys.digest("exam", "1")
    for n, run in [*enumerate("abc"), *enumerate("abc")]:
        assert where.find(run, exam_id) == Source(f"{n}.png", "p")
    assert where.find("empty", exam_id) is None
    with pytest.raises(NotPublished):
        where.find("never", exam_id)


@pytest.fixture
def shown(tmp_path: Path) -> tuple[Painter, Path, str]:
    """A painter over one exam, its file, its id."""
    file = tmp_path / SECRET / "wrist.png"
    file.parent.mkdir()
    file.write_bytes(picture(1))
    row = exam(1, str(file), decode(picture(1), DecodeConfig()).pixel_id)
    publish(str(tmp_path / "archive"), [row])
    painter = Painter(Whereabouts(str(tmp_path / "archive")).find, DecodeConfig(), read_source)
    return painter, file, str(row["exam_id"])


def image(found: Image | api.Problem) -> Image:
    assert isinstance(found, Image), found
    return found


def problem(found: Image | api.Problem, status: int, code: str) -> None:
    assert isinstance(found, api.Problem)
    assert (found.status, found.code) == (status, code)
    assert SECRET not in found.model_dump_json()


def test_an_image_is_what_decoding_sees(shown: tuple[Painter, Path, str]) -> None:
    paint, _, exam_id = shown
    found = image(paint(RUN, exam_id, None, ""))
    assert found.png is not None
    np.testing.assert_array_equal(decode_png(found.png), decode(picture(1), DecodeConfig()).gray)


def test_it_is_scaled_down_and_never_up(shown: tuple[Painter, Path, str]) -> None:
    paint, _, exam_id = shown
    shapes = {}
    for side in (48, 96, 500):
        png = image(paint(RUN, exam_id, side, "")).png
        assert png is not None
        shapes[side] = decode_png(png).shape
    assert shapes == {48: (48, 32), 96: (96, 64), 500: (96, 64)}


def test_who_holds_it_is_told_so_without_a_read(shown: tuple[Painter, Path, str]) -> None:
    paint, file, exam_id = shown
    tag = image(paint(RUN, exam_id, 64, "")).tag
    assert tag != image(paint(RUN, exam_id, 65, "")).tag
    file.unlink()
    for held in (tag, f'"other", W/{tag}'):
        assert image(paint(RUN, exam_id, 64, held)) == Image(tag, None)
    problem(paint(RUN, exam_id, 65, tag), 410, "source_unreadable")


def test_a_replaced_image_is_not_shown_as_the_exam_s(shown: tuple[Painter, Path, str]) -> None:
    paint, file, exam_id = shown
    file.write_bytes(picture(2))
    problem(paint(RUN, exam_id, None, ""), 410, "source_changed")
    file.write_bytes(picture(1)[:500])
    problem(paint(RUN, exam_id, None, ""), 410, "corrupt_image")


def test_an_image_that_is_gone_or_unknown_is_410(shown: tuple[Painter, Path, str]) -> None:
    paint, file, exam_id = shown
    file.unlink()
    problem(paint(RUN, exam_id, None, ""), 410, "source_unreadable")
    problem(paint(RUN, "f" * 32, None, ""), 410, "source_unreadable")


@pytest.mark.parametrize("error", [StoreFailed(f"s3://{SECRET}"), OSError(f"s3://{SECRET}"), NotPublished(SECRET)])
def test_a_store_that_is_away_is_503_and_no_address_is_logged(
    shown: tuple[Painter, Path, str], error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    def away(uri: str) -> bytes:
        raise error

    _, _, exam_id = shown
    with caplog.at_level(logging.DEBUG):
        problem(
            Painter(lambda *_: Source(SECRET, "p"), DecodeConfig(), away)(RUN, exam_id, None, ""), 503, "store_away"
        )
    assert SECRET not in str([r.__dict__ for r in caplog.records])


def test_a_reject_s_own_words_stay_inside(shown: tuple[Painter, Path, str]) -> None:
    def refuse(uri: str) -> bytes:
        raise Reject(ErrorCode.IMAGE_TOO_LARGE, SECRET)

    problem(
        Painter(lambda *_: Source(SECRET, "p"), DecodeConfig(), refuse)(RUN, shown[2], None, ""), 410, "image_too_large"
    )
