"""What looks a little like text and is none: markers of lead, wires, plates, screws, staples, wedges, shutters."""

from collections.abc import Callable

import cv2
import numpy as np

from tests.overlays.canvas import SUB, empty, fixed, lay, line, paste, spot, turned
from tests.overlays.fonts import STAMPED
from wristmir_ray.phantom.render import FULL

PX_PER_MM = 7.0
Add = Callable[[np.ndarray, np.random.Generator], np.ndarray]
"""(float32 (rows, cols) of grey, share of full scale; chance) -> the same with an object."""


def add_objects(pixels: np.ndarray, rng: np.random.Generator, most: int = 3) -> tuple[np.ndarray, list[str]]:
    """Return the pixels with up to `most` kinds of objects, and which.

    Args:
        pixels: uint16 (rows, cols) of 12 bits.
        rng: decides everything.
        most: kinds of objects at most.
    """
    grey = pixels.astype(np.float32) / FULL
    count = int(rng.integers(0, most + 1))
    kinds = [str(k) for k in rng.permutation(list(OBJECTS))[:count]]
    for kind in kinds:
        grey = OBJECTS[kind](grey, rng)
    return np.asarray(np.clip(np.round(grey * FULL), 0, FULL), np.uint16), kinds


def marker(grey: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A side's letter, alone or with up to two initials or a number, in a plate or not, turned or mirrored."""
    side, initials = str(rng.choice(["L", "R"])), "".join(rng.choice(list("ABCDEFGHJKMNPSTUVWXYZ"), 2))
    words = [side, side, side + initials[0], f"{side} {initials}", initials, f"{side} {rng.integers(1, 99)}"]
    word = words[int(rng.integers(len(words)))]
    return stamp(grey, rng, word, int(rng.integers(24, 64) if len(word) == 1 else rng.integers(18, 44)))


def longest_marker(grey: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A side's letter with three initials or figures: the longest that is still a marker."""
    side, letters = str(rng.choice(["L", "R"])), list("ABCDEFGHJKMNPSTUVWXYZ" if rng.random() < 0.7 else "0123456789")
    word = side + str(rng.choice(["", " ", " "])) + "".join(rng.choice(letters, 3))
    return stamp(grey, rng, word, int(rng.integers(12, 44)))


def stamp(grey: np.ndarray, rng: np.random.Generator, word: str, cap: int) -> np.ndarray:
    """A word of lead at the image's side, its capitals so many pixels high."""
    faces = list(STAMPED.values())
    mask = faces[int(rng.integers(len(faces)))](word, cap)
    if rng.random() < 0.15:
        mask = mask[:, ::-1]
    pad = int(rng.integers(8, 20))
    plate = np.full((mask.shape[0] + 2 * pad, mask.shape[1] + 2 * pad), 255, np.uint8)
    angle = float(rng.choice([0, 0, 90, 180, 270])) + rng.normal(0, 6)
    at = np.array([rng.choice([0.08, 0.92]) * grey.shape[1], rng.uniform(0.08, 0.92) * grey.shape[0]])
    if rng.random() < 0.5:
        canvas = empty(grey)
        paste(canvas, turned(plate, angle), at)
        grey = grey + canvas.astype(np.float32) / 255 * np.float32(rng.uniform(0.02, 0.1))
    canvas = empty(grey)
    paste(canvas, turned(np.ascontiguousarray(mask), angle), at)
    return lay(grey, canvas, rng, rng.uniform(0.85, 1.0), rng.uniform(0.5, 1.6))


def arrow(grey: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """An arrow of lead, or three balls in a circle that show which way is up."""
    mask, at = empty(grey), spot(grey, rng)
    if rng.random() < 0.5:
        tip = at + rng.uniform(40, 110) * np.array([np.cos(a := rng.uniform(0, 6.28)), np.sin(a)])
        ends = [tuple(int(v) for v in p) for p in (at, tip)]
        cv2.arrowedLine(mask, ends[0], ends[1], 255, int(rng.integers(3, 10)), cv2.LINE_AA, 0, 0.3)
    else:
        cv2.circle(mask, tuple(int(v) for v in at), int(rng.integers(20, 40)), 255, 2, cv2.LINE_AA)
        for k in range(3):
            cv2.circle(mask, (int(at[0]) - 8 + 8 * k, int(at[1]) + 10), 4, 255, -1, cv2.LINE_AA)
    return lay(grey, mask, rng, rng.uniform(0.8, 1.0))


def wires(grey: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """One to three Kirschner wires, some with a bent end, or an elastic nail."""
    mask = empty(grey)
    for _ in range(int(rng.integers(1, 4))):
        start, angle = spot(grey, rng, 0.3, 0.7), rng.uniform(0, np.pi)
        along = np.linspace(0, rng.uniform(25, 80) * PX_PER_MM, 40)[:, None]
        bow = rng.normal(0, 0.0004) * along**2
        points = start + along * [np.cos(angle), np.sin(angle)] + bow * [-np.sin(angle), np.cos(angle)]
        if rng.random() < 0.4:
            points = np.concatenate([points[:1] + 4 * PX_PER_MM * rng.normal(0, 1, (1, 2)), points])
        line(mask, points, rng.uniform(1.0, 2.0) * PX_PER_MM)
    return lay(grey, mask, rng, rng.uniform(0.8, 1.0))


def plate(grey: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A plate of metal with holes, some filled by screws whose threads show beside it."""
    count, pitch = int(rng.integers(3, 10)), rng.uniform(5, 11) * PX_PER_MM * 0.7
    wide = rng.uniform(0.55, 1.1) * pitch
    angle = rng.choice([0, 90]) + rng.normal(0, 25) * (rng.random() < 0.7)
    c, s = np.cos(np.radians(angle)), np.sin(np.radians(angle))
    axis, across = np.array([c, s]), np.array([-s, c])
    start = spot(grey, rng, 0.2, 0.7)
    mask = empty(grey)
    shows_plate = rng.random() < 0.75
    if shows_plate:
        line(mask, np.array([start - axis * pitch / 2, start + axis * pitch * (count - 0.5)]), wide)
    seen_edge_on = rng.random() < 0.4
    for k in range(count):
        centre = start + axis * pitch * k
        if seen_edge_on or not shows_plate:
            _screw(mask, centre, across, rng)
        else:
            shade = 60 if rng.random() < 0.5 else 225
            cv2.circle(mask, fixed(centre), int(wide * 0.28 * SUB), shade, -1, cv2.LINE_AA, 4)
            cv2.circle(mask, fixed(centre), int(wide * 0.28 * SUB), 150, 1, cv2.LINE_AA, 4)
    return lay(grey, mask, rng, rng.uniform(0.8, 1.0))


def _screw(mask: np.ndarray, head: np.ndarray, across: np.ndarray, rng: np.random.Generator) -> None:
    """Draw a screw from its head: a shaft with a thread."""
    side = np.array([-across[1], across[0]])
    length, radius, turn = rng.uniform(10, 22) * PX_PER_MM, rng.uniform(0.8, 1.4) * PX_PER_MM, rng.uniform(5, 9)
    at = np.arange(0, length, turn / 2)
    zigzag = np.where(np.arange(len(at)) % 2 == 0, 1.0, 0.72)[:, None] * radius
    left, right = (head + at[:, None] * across + sign * zigzag * side for sign in (1, -1))
    cv2.fillPoly(mask, [fixed(np.concatenate([left, right[::-1]]))], 255, cv2.LINE_AA, 4)
    cv2.circle(mask, fixed(head), int(1.9 * radius * SUB), 255, -1, cv2.LINE_AA, 4)


def staples(grey: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A row of skin staples, along a wound."""
    mask = empty(grey)
    count, pitch, wide = int(rng.integers(3, 12)), rng.uniform(5, 9) * PX_PER_MM, rng.uniform(3.5, 6) * PX_PER_MM
    angle = np.radians(rng.uniform(0, 180))
    axis, across = np.array([np.cos(angle), np.sin(angle)]), np.array([-np.sin(angle), np.cos(angle)])
    start = spot(grey, rng, 0.2, 0.6)
    for k in range(count):
        centre = start + axis * pitch * k + rng.normal(0, 2, 2)
        tilt = rng.normal(0, 0.12)
        a, b = across + tilt * axis, axis - tilt * across
        legs = np.array([-0.5 * a + 0.35 * b, -0.5 * a, 0.5 * a, 0.5 * a + 0.35 * b]) * wide
        line(mask, centre + legs, rng.uniform(0.5, 0.8) * PX_PER_MM)
    return lay(grey, mask, rng, rng.uniform(0.7, 1.0))


def wedge(grey: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A wedge of aluminium in steps, at the image's side."""
    steps, size, wide = int(rng.integers(4, 13)), int(rng.integers(14, 40)), int(rng.integers(30, 80))
    ramp = np.repeat(np.linspace(0.05, rng.uniform(0.5, 0.95), steps), size)[:, None] * np.ones((1, wide))
    ramp = ramp if rng.random() < 0.5 else ramp.T
    h, w = min(ramp.shape[0], grey.shape[0] - 9), min(ramp.shape[1], grey.shape[1] - 9)
    x, y = int(rng.integers(4, grey.shape[1] - w)), int(rng.integers(4, grey.shape[0] - h))
    out = grey.copy()
    noise = rng.normal(0, 0.006, (h, w))
    out[y : y + h, x : x + w] = np.maximum(out[y : y + h, x : x + w], ramp[:h, :w] + noise)
    return out


def ruler(grey: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A scale with ticks a millimetre or a centimetre, of lead or burned in, without figures."""
    mask = empty(grey)
    pitch = float(rng.choice([1.0, 5.0, 10.0])) * PX_PER_MM
    count, x = int(rng.integers(8, 40)), float(rng.choice([0.04, 0.96])) * grey.shape[1]
    y = rng.uniform(0.05, 0.4) * grey.shape[0]
    inwards = 1 if x < grey.shape[1] / 2 else -1
    long, short = rng.uniform(12, 24), rng.uniform(5, 11)
    for k in range(count):
        end = x + inwards * (long if k % 5 == 0 else short)
        line(mask, np.array([[x, y + k * pitch], [end, y + k * pitch]]), 1.5)
    if rng.random() < 0.6:
        line(mask, np.array([[x, y], [x, y + (count - 1) * pitch]]), 1.5)
    if rng.random() < 0.4:
        side = min(mask.shape)
        mask[:side, :side] = mask[:side, :side].T.copy()
    return lay(grey, mask, rng, 1.0, rng.uniform(0.3, 0.9))


def splint(grey: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A splint with round holes in rows, or one of aluminium with slots."""
    pitch, radius = rng.uniform(14, 34), rng.uniform(0.18, 0.34)
    y, x = np.mgrid[: grey.shape[0], : grey.shape[1]].astype(np.float32)
    row = np.floor(y / pitch)
    dx = (x / pitch + 0.5 * (row % 2)) % 1 - 0.5
    dy = y / pitch % 1 - 0.5
    holes = (np.hypot(dx, dy) < radius).astype(np.float32)
    low, high = sorted(rng.uniform(0.1, 0.9, 2))
    inside = (x > low * grey.shape[1]) & (x < high * grey.shape[1])
    sheet = cv2.GaussianBlur(inside * (1 - holes), (0, 0), 1.0)
    return np.asarray(grey + np.float32(rng.uniform(0.02, 0.14)) * sheet, np.float32)


def jewellery(grey: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A bracelet of beads or links, a zip, or press studs."""
    mask = empty(grey)
    start, angle = spot(grey, rng, 0.1, 0.6), rng.uniform(-0.4, 0.4) + rng.choice([0, np.pi / 2])
    count, pitch = int(rng.integers(5, 30)), rng.uniform(9, 26)
    size, c, s = rng.uniform(0.25, 0.48) * pitch, np.cos(angle), np.sin(angle)
    shape = int(rng.integers(3))
    for k in range(count):
        along, beside = pitch * k, 18 * np.sin(k / count * np.pi)
        at = start + np.array([c * along - s * beside, s * along + c * beside])
        if shape == 0:
            cv2.circle(mask, fixed(at), int(size * SUB), 255, -1, cv2.LINE_AA, 4)
        elif shape == 1:
            cv2.circle(mask, fixed(at), int(size * SUB), 255, 2, cv2.LINE_AA, 4)
        else:
            step = np.array([-s, c]) * size * (1.0 if k % 2 else 0.6)
            line(mask, np.array([at - step, at + step]), 0.3 * pitch)
    return lay(grey, mask, rng, rng.uniform(0.6, 1.0))


def dust(grey: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Specks, hairs and scratches of a scanned film."""
    mask = empty(grey)
    for _ in range(int(rng.integers(10, 120))):
        at = spot(grey, rng, 0.0, 1.0)
        path = at + np.cumsum(rng.normal(0, rng.uniform(0.5, 3), (int(rng.integers(1, 9)), 2)), axis=0)
        line(mask, path, rng.uniform(1, 3))
    return lay(grey, mask, rng, rng.uniform(0.6, 1.0))


def shutter(grey: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A black shutter whose slanting edges are stairs, as in images that were straightened."""
    angle = rng.normal(0, 3)
    centre = (grey.shape[1] / 2, grey.shape[0] / 2)
    turn = cv2.getRotationMatrix2D(centre, angle, rng.uniform(0.9, 1.0))
    inside = cv2.warpAffine(np.ones(grey.shape, np.uint8), turn, grey.shape[::-1], flags=cv2.INTER_NEAREST)
    return np.asarray(grey * inside, np.float32)


def grid(grey: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Lines of an anti-scatter grid, or dead rows of the detector."""
    if rng.random() < 0.5:
        rows = np.arange(grey.shape[0], dtype=np.float32)[:, None]
        wave = np.sin(2 * np.pi / rng.uniform(2.1, 9) * rows) * rng.uniform(0.004, 0.02)
        return np.asarray(grey + wave.astype(np.float32), np.float32)
    out = grey.copy()
    for _ in range(int(rng.integers(1, 5))):
        out[int(rng.integers(grey.shape[0]))] = rng.choice([0.0, 1.0])
    return out


OBJECTS: dict[str, Add] = {
    "marker": marker,
    "arrow": arrow,
    "wires": wires,
    "plate": plate,
    "staples": staples,
    "wedge": wedge,
    "ruler": ruler,
    "splint": splint,
    "jewellery": jewellery,
    "dust": dust,
    "shutter": shutter,
    "grid": grid,
}
