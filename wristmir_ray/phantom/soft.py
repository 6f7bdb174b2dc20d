"""What surrounds the bones: soft tissue and, around that, a cast. Drawn at a quarter of the size."""

import cv2
import numpy as np

from wristmir_ray.phantom import shapes
from wristmir_ray.phantom.exposure import Exposure
from wristmir_ray.phantom.scene import Scene

_QUARTER = 4

_SKIN = (  # y, little-finger side, thumb side; grown-hand mm
    (-190.0, -34.0, 36.0),
    (-130.0, -38.0, 38.0),
    (-100.0, -38.0, 44.0),
    (-84.0, -36.0, 55.0),
    (-66.0, -33.0, 58.0),
    (-46.0, -29.0, 48.0),
    (-30.0, -28.0, 38.0),
    (-15.0, -28.0, 32.0),
    (5.0, -30.0, 30.0),
    (25.0, -31.5, 30.0),
    (60.0, -36.0, 33.0),
    (110.0, -42.0, 38.0),
    (200.0, -50.0, 46.0),
    (345.0, -54.0, 52.0),
)
_CAST_TOP_MM = -52.0


def soft_tissue(scene: Scene, shot: Exposure, rng: np.random.Generator) -> np.ndarray:
    """Return float32 (rows, cols): attenuation of the soft tissue, a flat body with round edges."""
    rows, cols = scene.rows // _QUARTER + 1, scene.cols // _QUARTER + 1
    depth = _depth(scene, _skin(), rows, cols)
    r = shot.thickness
    chord = 2 * np.sqrt(np.maximum(r**2 - np.maximum(r - depth, 0) ** 2, 0))
    lumps = cv2.resize(rng.normal(1.0, 0.05, (7, 5)).astype(np.float32), (cols, rows), interpolation=cv2.INTER_CUBIC)
    return _full(np.float32(shot.soft * scene.bones.scale) * chord * lumps, scene)


def cast_map(scene: Scene, shot: Exposure, rng: np.random.Generator) -> np.ndarray:
    """Return float32 (rows, cols): attenuation of a cast, a shell seen edge-on at its sides, woven or mottled."""
    rows, cols = scene.rows // _QUARTER + 1, scene.cols // _QUARTER + 1
    skin = _skin()
    top = _CAST_TOP_MM + rng.uniform(-12, 8)
    skin = skin[skin[:, 1] > top]
    wave = np.interp(skin[:, 1], np.linspace(top, 345, 24), rng.uniform(1.0, 4.5, 24)) + shot.cast_mm
    middle = np.where(skin[:, 0] > 0, 1.0, -1.0)
    outer = skin + np.stack([middle * wave, np.zeros(len(skin))], 1)
    depth = _depth(scene, outer, rows, cols)
    wall, r = shot.cast_mm, 34.0
    shell = np.sqrt(np.maximum(r**2 - np.maximum(r - depth, 0) ** 2, 0))
    hole = np.sqrt(np.maximum((r - wall) ** 2 - np.clip(r - depth, 0, r - wall) ** 2, 0))
    path = np.asarray(2 * (shell - hole), np.float32)
    strength = (0.010 if shot.plaster else 0.0065) * scene.bones.scale
    weave = _mottle(rows, cols, rng) if shot.plaster else _mesh(rows, cols, scene.px_per_mm / _QUARTER, rng)
    cast = _full(np.float32(strength) * path * weave, scene)
    return cast * _granules(scene.rows, scene.cols, rng) if shot.plaster else cast


def _skin() -> np.ndarray:
    """Return the outline of hand and forearm."""
    return shapes.outline(_SKIN, step=2.0)


def _depth(scene: Scene, polygon: np.ndarray, rows: int, cols: int) -> np.ndarray:
    """Return float32 (rows, cols): distance to the outline in grown-hand mm, 0 outside.

    The image's border is no outline: the mask reaches beyond it.
    """
    pad = 40
    mask = np.zeros((rows + 2 * pad, cols + 2 * pad), np.uint8)
    cv2.fillPoly(mask, [np.round((scene.to_px(polygon) / _QUARTER + pad) * 16).astype(np.int32)], 255, cv2.LINE_8, 4)
    distance = cv2.distanceTransform(mask, cv2.DIST_L2, 3)[pad:-pad, pad:-pad]
    return np.asarray(distance * np.float32(_QUARTER / scene.px_per_mm))


def _mottle(rows: int, cols: int, rng: np.random.Generator) -> np.ndarray:
    noise = rng.standard_normal((rows, cols), dtype=np.float32)
    grain = cv2.GaussianBlur(noise, (0, 0), sigmaX=rng.uniform(0.8, 3.0), sigmaY=rng.uniform(0.8, 1.8))
    return np.asarray(1 + np.float32(rng.uniform(0.12, 0.6)) * grain / np.float32(grain.std()))


def _granules(rows: int, cols: int, rng: np.random.Generator) -> np.ndarray:
    """Return float32 (rows, cols) around 1: the grain of plaster, as coarse as trabeculae, over bone and all."""
    noise = rng.standard_normal((rows // 2 + 1, cols // 2 + 1), dtype=np.float32)
    grain = cv2.GaussianBlur(noise, (0, 0), sigmaX=rng.uniform(0.5, 1.5), sigmaY=rng.uniform(0.5, 1.5))
    grain *= np.float32(rng.uniform(0.1, 0.5)) / np.float32(grain[::4, ::4].std())
    return np.asarray(1 + cv2.resize(grain, (cols, rows), interpolation=cv2.INTER_LINEAR))


def _mesh(rows: int, cols: int, px_per_mm: float, rng: np.random.Generator) -> np.ndarray:
    pitch = max(2.6 * px_per_mm, 3.2)
    angle = rng.uniform(0.5, 1.0)
    y = np.arange(rows, dtype=np.float32)[:, None]
    x = np.arange(cols, dtype=np.float32)[None, :]
    one = np.cos(2 * np.pi / pitch * (np.cos(angle) * x + np.sin(angle) * y))
    two = np.cos(2 * np.pi / pitch * (np.cos(angle) * x - np.sin(angle) * y))
    return np.asarray(1 + 0.28 * one * two, np.float32)


def _full(quarter: np.ndarray, scene: Scene) -> np.ndarray:
    size = (quarter.shape[1] * _QUARTER, quarter.shape[0] * _QUARTER)
    smooth = cv2.GaussianBlur(quarter, (0, 0), 1.0)  # the outline's pixels are large
    big = cv2.resize(smooth, size, interpolation=cv2.INTER_LINEAR)
    return np.asarray(big[: scene.rows, : scene.cols], np.float32)
