"""From a scene to 12-bit pixels: sum of attenuations along each ray, then the detector.

Thickness comes from the distance to a bone's outline (a hollow body: dense cortex, lighter medulla).
Bright is dense. About 50 ms of one core for 1000 x 700 px.
"""

import cv2
import numpy as np

from wristmir_ray.phantom.exposure import Exposure, sample_exposure
from wristmir_ray.phantom.scene import Scene
from wristmir_ray.phantom.skeleton import Bone, Mark
from wristmir_ray.phantom.soft import cast_map, soft_tissue

BITS = 12
FULL = 2**BITS - 1
_NOISE_STREAM = 16
_SUB = 16
"""Sub-pixels of polygon corners (a power of two: 4 bits)."""


def render(scene: Scene, seed: int) -> np.ndarray:
    """Return the radiograph of a scene: uint16 (rows, cols) of 12 bits, bright bone.

    Args:
        scene: geometry.
        seed: of the archive; with the case's index the source of exposure and noise.
    """
    cv2.setNumThreads(1)
    shot = sample_exposure(scene.case, seed)
    rng = np.random.default_rng((seed, _NOISE_STREAM, scene.case.index))
    texture = _texture(scene.rows, scene.cols, shot.streak_px, rng)
    bone = np.zeros((scene.rows, scene.cols), np.float32)
    for b in scene.bones.bones:
        _add_bone(bone, b, scene, texture, shot.texture)
    soft = soft_tissue(scene, shot, rng)
    path = np.float32(shot.bone * scene.bones.scale) * bone + soft
    if shot.cast_mm:
        path += cast_map(scene, shot, rng)
    path = cv2.GaussianBlur(path, (0, 0), shot.blur_px)
    return _detect(path, shot, rng)


def _texture(rows: int, cols: int, size_px: tuple[float, float], rng: np.random.Generator) -> np.ndarray:
    """Return float32 (rows, cols) of unit variance, streaked along the forearm: trabeculae."""
    noise = rng.standard_normal((rows // 2 + 1, cols // 2 + 1), dtype=np.float32)
    streaks = cv2.GaussianBlur(noise, (0, 0), sigmaX=size_px[0] / 2, sigmaY=size_px[1] / 2)
    streaks /= np.float32(streaks[::4, ::4].std())
    return np.asarray(cv2.resize(streaks, (cols, rows), interpolation=cv2.INTER_LINEAR))


def _add_bone(out: np.ndarray, bone: Bone, scene: Scene, texture: np.ndarray, grain: float) -> None:
    """Add one bone's thickness (grown-hand mm of cortex) to `out`."""
    parts = [scene.to_px(p) for p in bone.parts.values() if len(p) > 2]
    marks = [scene.to_px(m.points) for m in bone.marks if m.adds]
    window = _window([*parts, *marks], out.shape, pad=int(4 * scene.px_per_mm))
    if window is None:
        return
    y0, y1, x0, x1 = window
    mask = np.zeros((y1 - y0, x1 - x0), np.uint8)
    for polygon in parts:
        _fill(mask, polygon - (x0, y0), 255)
    depth_px = cv2.distanceTransform(mask, cv2.DIST_L2, 3)
    steps = np.minimum(depth_px * 4, 1023).astype(np.int16)
    thick = _hollow(bone, bone.cortex, scene.px_per_mm)[steps]
    if bone.shaft_y is not None:
        share = _shaft_share(scene, bone.shaft_y, window)
        thick += share * (_hollow(bone, 2.2 * bone.cortex, scene.px_per_mm)[steps] - thick)
    thick *= 1 + grain * texture[y0:y1, x0:x1]
    for mark in bone.marks:
        _apply(thick, mark, scene, (x0, y0))
    out[y0:y1, x0:x1] += thick


def _shaft_share(scene: Scene, shaft_y: float, window: tuple[int, int, int, int]) -> np.ndarray:
    """Return float32 of the window's shape: 0 in the bone's end, 1 in its shaft, 22 mm between."""
    y0, y1, x0, x1 = window
    inverse = np.linalg.inv(scene.matrix[:, :2])
    offset = float(inverse[1] @ scene.matrix[:, 2]) + shaft_y
    rows = np.arange(y0, y1, dtype=np.float32)[:, None] * np.float32(inverse[1, 1])
    cols = np.arange(x0, x1, dtype=np.float32)[None, :] * np.float32(inverse[1, 0])
    return np.asarray(np.clip((rows + cols - np.float32(offset)) / 22, 0, 1), np.float32)


def _hollow(bone: Bone, cortex: float, px_per_mm: float) -> np.ndarray:
    """Return float32 (1024,): mm of cortex along a ray, by quarter pixels from the outline.

    chord(r) = 2 sqrt(r^2 - (r - d)^2): the outer body, less the medulla's share of the inner one.
    """
    d = np.arange(1024) / 4 / px_per_mm
    outer = 2 * np.sqrt(np.maximum(bone.depth**2 - np.maximum(bone.depth - d, 0) ** 2, 0))
    r = bone.depth - cortex
    inner = 2 * np.sqrt(np.maximum(r**2 - np.clip(bone.depth - d, 0, r) ** 2, 0))
    return np.asarray(outer - (1 - bone.medulla) * inner, np.float32)


def _apply(thick: np.ndarray, mark: Mark, scene: Scene, corner: tuple[int, int]) -> None:
    """Draw one mark into a bone's window."""
    sigma = mark.blur * scene.px_per_mm
    points = scene.to_px(mark.points)
    pad = int(3 * sigma + mark.width * scene.px_per_mm + 2)
    window = _window([points - corner], thick.shape, pad)
    if window is None:
        return
    y0, y1, x0, x1 = window
    area = np.zeros((y1 - y0, x1 - x0), np.uint8)
    local = points - corner - (x0, y0)
    if mark.filled:
        _fill(area, local, 255)
    else:
        width = max(1, round(mark.width * scene.px_per_mm))
        cv2.polylines(area, [_fixed(local)], False, 255, width, cv2.LINE_8, 4)
    soft = cv2.GaussianBlur(area, (0, 0), max(sigma, 0.6)).astype(np.float32) / 255
    if mark.adds:
        thick[y0:y1, x0:x1] += mark.strength * soft
    else:
        thick[y0:y1, x0:x1] *= 1 + mark.strength * soft


def _window(polygons: list[np.ndarray], shape: tuple[int, ...], pad: int) -> tuple[int, int, int, int] | None:
    """Return (y0, y1, x0, x1) around the polygons inside the image; None where nothing is inside."""
    points = np.concatenate(polygons)
    (x0, y0), (x1, y1) = np.floor(points.min(axis=0)) - pad, np.ceil(points.max(axis=0)) + pad
    y0, y1 = max(int(y0), 0), min(int(y1), shape[0])
    x0, x1 = max(int(x0), 0), min(int(x1), shape[1])
    return (y0, y1, x0, x1) if y1 - y0 > 2 and x1 - x0 > 2 else None


def _fixed(points: np.ndarray) -> np.ndarray:
    return np.asarray(np.round(points * _SUB), np.int32)


def _fill(mask: np.ndarray, polygon: np.ndarray, value: int) -> None:
    cv2.fillPoly(mask, [_fixed(polygon)], value, cv2.LINE_8, 4)


def _detect(path: np.ndarray, shot: Exposure, rng: np.random.Generator) -> np.ndarray:
    """Return 12-bit pixels of an attenuation map: tone curve, dose noise, collimation, marker."""
    rows, cols = path.shape
    grey = _toned(path, shot)
    grey += (np.linspace(-0.5, 0.5, cols, dtype=np.float32) * shot.tilt[0])[None, :]
    grey += (np.linspace(-0.5, 0.5, rows, dtype=np.float32) * shot.tilt[1])[:, None]
    dose = np.exp(0.5 * path) * np.float32(0.6 * shot.noise)
    grey += dose * _noise(rows, cols, shot.noise_grain_px, rng)
    letters = _marker(rows, cols, shot)
    grey = np.maximum(grey, letters)
    field = _field(rows, cols, shot)
    if shot.glow:
        grey += np.float32(shot.glow) * _glow(field, shot)
    grey *= field
    return np.asarray(np.clip(grey * FULL, 0, FULL), np.uint16)


def _toned(path: np.ndarray, shot: Exposure) -> np.ndarray:
    """Return float32 of the map's shape: grey by the tone curve, a power with an S upon it."""
    grey = np.clip(path / shot.white, 0, 1) ** np.float32(shot.gamma)
    if shot.contrast:
        grey += np.float32(shot.contrast) * (grey * grey * (3 - 2 * grey) - grey)
    return np.asarray(np.float32(1 - shot.scatter) * grey + shot.scatter, np.float32)


def _noise(rows: int, cols: int, grain_px: float, rng: np.random.Generator) -> np.ndarray:
    """Return float32 (rows, cols) of unit variance."""
    noise = rng.standard_normal((rows, cols), dtype=np.float32)
    if grain_px:
        noise = cv2.GaussianBlur(noise, (0, 0), grain_px)
        noise /= np.float32(noise[::4, ::4].std())
    return noise


def _glow(field: np.ndarray, shot: Exposure) -> np.ndarray:
    """Return float32 of the field's shape: 1 at its borders, fading inwards: scatter of the collimator's blades."""
    rows, cols = field.shape
    small = cv2.copyMakeBorder((field[::4, ::4] > 0.5).astype(np.uint8), 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=0)
    inside_px = 4 * cv2.distanceTransform(small, cv2.DIST_L2, 3)[1:-1, 1:-1]
    fading = np.exp(-inside_px / np.float32(shot.glow_reach * min(rows, cols)))
    return np.asarray(cv2.resize(fading, (cols, rows), interpolation=cv2.INTER_LINEAR))


def _marker(rows: int, cols: int, shot: Exposure) -> np.ndarray:
    """Return float32 (rows, cols): the lead letter, 0 elsewhere."""
    image = np.zeros((rows, cols), np.uint8)
    size = 2.0 * shot.marker_size
    (w, h), _ = cv2.getTextSize(shot.marker, cv2.FONT_HERSHEY_SIMPLEX, size, 8)
    x = int(np.clip(shot.marker_at[0] * cols - w / 2, 8, cols - w - 8))
    y = int(np.clip(shot.marker_at[1] * rows, h + 12, rows - 12))
    if shot.marker_plate:
        cv2.rectangle(image, (x - 14, y - h - 22), (x + w + 14, y + 20), 55, -1)
    cv2.putText(image, shot.marker, (x, y), cv2.FONT_HERSHEY_SIMPLEX, size, 245, 8, cv2.LINE_AA)
    return np.asarray(image, np.float32) / 255


def _field(rows: int, cols: int, shot: Exposure) -> np.ndarray:
    """Return float32 (rows, cols): 1 in the collimated field, near 0 outside (the image was straightened)."""
    left, top, right, bottom = shot.collimation
    corners = np.array(
        [
            (left * cols, top * rows),
            ((1 - right) * cols, top * rows),
            ((1 - right) * cols, (1 - bottom) * rows),
            (left * cols, (1 - bottom) * rows),
        ]
    )
    angle = np.radians(shot.collimation_deg)
    spin = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    centre = np.array([cols / 2, rows / 2])
    small = np.zeros((rows // 2 + 1, cols // 2 + 1), np.uint8)
    _fill(small, ((corners - centre) @ spin.T + centre) / 2, 255)
    return np.asarray(cv2.resize(cv2.blur(small, (3, 3)), (cols, rows)), np.float32) / 255
