"""The de-identification gate's eye for burned-in text, on phantoms with and without it.

With text: names, dates, numbers, hospitals. With and without: a side marker on every image, casts on a third,
and up to three kinds each of markers with initials, arrows, wires, plates, screws, staples, wedges, rulers,
splints, jewellery, dust, shutters, grids. Both are worn: noise, scaling, straightening, windows, inversion,
JPEG. `recall` and `false_quarantine` come with Wilson's 95 % intervals. The peer of the rate is decoding the
same pixels from PNG (16 bits as stored); `cost` is the gate's time over decoding's.

What is held out: weights and threshold come from other fonts, layouts and seeds (`tests.overlays.fit`; some of
those fonts are of the same families in another cut). Not from sight, though: earlier versions of the detector
were measured on these fonts and layouts while it was being written, and a unit test asks for one easy line in
each font. The kinds of objects, the wear and the wording are the same as in the fit, drawn anew. SEED was first
drawn when weights and threshold stood as they do. All figures are phantom figures: how scanners of a given
hospital write, only its own archive tells.

BENCH_PHANTOMS sets how many of each there are (default 400: a minute; 1000 for a report).
"""

import os
import statistics
import time
from collections import Counter
from typing import Any

SEED = 9200
PHANTOMS = int(os.environ.get("BENCH_PHANTOMS", "400"))
TIMED = 40


def measure(phantoms: int = PHANTOMS) -> dict[str, Any]:
    """Return recall, false quarantine and their intervals, misses by kind, and milliseconds an image."""
    from tests.overlays.exam import draw_exam
    from tests.overlays.fonts import HELD_OUT
    from tests.overlays.text import HELD_OUT_LAYOUTS
    from wristmir_ray.metrics.proportion import wilson

    found, missed = 0, Counter[str]()
    for index in range(phantoms):
        exam = draw_exam(SEED, index, True, HELD_OUT, HELD_OUT_LAYOUTS)
        assert exam.burned
        hit = seen(exam.pixels)
        found += hit
        if not hit:
            missed.update(
                [exam.burned.face, exam.burned.layout, exam.burned.style, f"cap < {_size(exam.burned.cap_px)}"]
            )
    false, causes, plain, false_plain = 0, Counter[str](), 0, 0
    for index in range(phantoms, 2 * phantoms):
        exam = draw_exam(SEED, index, False)
        fires = seen(exam.pixels)
        false += fires
        causes.update(exam.objects if fires else ())
        plain += not exam.objects
        false_plain += fires and not exam.objects
    return {
        "recall": found / phantoms,
        "recall_interval": wilson(found, phantoms).as_dict(),
        "missed": dict(missed.most_common()),
        "false_quarantine": false / phantoms,
        "false_quarantine_interval": wilson(false, phantoms).as_dict(),
        "false_by_object": dict(causes.most_common()),
        "false_without_objects": f"{false_plain} of {plain}",
        "phantoms": phantoms,
        **rates(min(TIMED, phantoms)),
    }


def seen(pixels: Any) -> bool:
    """Return whether the gate, as it is set by default, would quarantine these pixels."""
    from wristmir_ray.imaging.burned_in import find_text
    from wristmir_ray.imaging.config import DeidConfig

    return any(line.score >= DeidConfig().min_score for line in find_text(pixels))


def rates(images: int) -> dict[str, Any]:
    """Return images a second of the detector and of decoding, at 1000 x 700 px, and milliseconds an image."""
    import cv2

    from tests.overlays.exam import draw_exam
    from wristmir_ray.imaging.burned_in import find_text
    from wristmir_ray.imaging.config import DecodeConfig
    from wristmir_ray.imaging.decode import decode

    ours, peer = [], []
    for index in range(images):
        pixels = cv2.resize(draw_exam(SEED + 1, index, index % 2 == 1).pixels, (700, 1000))
        data = bytes(cv2.imencode(".png", pixels)[1])
        started = time.process_time()
        decode(data, DecodeConfig())
        between = time.process_time()
        find_text(pixels)
        peer.append(between - started)
        ours.append(time.process_time() - between)
    return {
        "ours": round(1 / statistics.median(ours), 1),
        "peer": round(1 / statistics.median(peer), 1),
        "ratio": round(statistics.median(peer) / statistics.median(ours), 2),
        "unit": "images/s a core",
        "cost": round(statistics.median(ours) / statistics.median(peer), 2),
        "ms": round(1e3 * statistics.median(ours), 1),
        "ms_decode": round(1e3 * statistics.median(peer), 1),
    }


def _size(cap_px: int) -> int:
    return next(limit for limit in (12, 20, 32, 64) if cap_px < limit)
