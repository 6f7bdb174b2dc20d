"""How a scene is exposed: tube, collimation, cast, marker. Chance alone, one stream an exam."""

from dataclasses import dataclass

import numpy as np

from wristmir_ray.phantom.case import Case

_STREAM = 15


@dataclass(frozen=True)
class Exposure:
    """Settings of one shot."""

    soft: float
    """Attenuation of soft tissue a millimetre."""
    bone: float
    """Attenuation of cortex a millimetre."""
    thickness: float
    """Half thickness of the forearm, grown-hand mm."""
    noise: float
    """Standard deviation of the noise behind 1.0 of attenuation, as a share of full scale."""
    noise_grain_px: float
    """Blur of the noise by the detector and its processing; 0: each pixel for itself."""
    blur_px: float
    scatter: float
    """Grey of the open field, share of full scale."""
    tilt: tuple[float, float]
    """Brightness gained from one border to the other, x and y (heel effect)."""
    gamma: float
    contrast: float
    """Share of an S-shaped tone curve: steep in the middle, flat at both ends."""
    white: float
    """Attenuation shown at full scale."""
    texture: float
    """Contrast of the trabeculae, share of a bone's thickness."""
    streak_px: tuple[float, float]
    """Size of a trabecula across and along the forearm."""
    glow: float
    """Brightness of scatter at the field's borders, share of full scale."""
    glow_reach: float
    """How far it reaches, share of the image's shorter side."""
    cast_mm: float
    """Thickness of the cast; 0 without one."""
    plaster: bool
    collimation: tuple[float, float, float, float]
    """Covered share at left, top, right and bottom."""
    collimation_deg: float
    marker: str
    """L or R."""
    marker_at: tuple[float, float]
    """Share of the image's width and height."""
    marker_size: float
    marker_plate: bool


def sample_exposure(case: Case, seed: int) -> Exposure:
    """Return the exposure of a case; osteopenia thins the bone's attenuation."""
    rng = np.random.default_rng((seed, _STREAM, case.index))
    cover = rng.uniform(0.0, 0.05, 4) * (rng.random(4) < 0.8)
    return Exposure(
        soft=rng.uniform(0.008, 0.0135),
        bone=rng.uniform(0.040, 0.058) * (0.74 if case.osteopenia else 1.0),
        thickness=rng.uniform(20.0, 29.0),
        noise=rng.uniform(0.004, 0.024),
        noise_grain_px=rng.uniform(0.5, 1.2) * (rng.random() < 0.5),
        blur_px=rng.uniform(0.7, 1.3),
        scatter=rng.uniform(0.03, 0.16),
        tilt=(rng.normal(0, 0.03), rng.normal(0, 0.03)),
        gamma=float(np.exp(rng.normal(0, 0.28))),
        contrast=rng.uniform(0.2, 1.0) * (rng.random() < 0.5),
        white=rng.uniform(0.9, 1.3),
        texture=rng.uniform(0.03, 0.15),
        streak_px=(rng.uniform(0.9, 2.6), rng.uniform(1.6, 5.0)),
        glow=rng.uniform(0.2, 1.0) * (rng.random() < 0.5),
        glow_reach=rng.uniform(0.005, 0.04),
        cast_mm=rng.uniform(3.5, 8.0) if case.cast else 0.0,
        plaster=bool(rng.random() < 0.5),
        collimation=(float(cover[0]), float(cover[1]), float(cover[2]), float(cover[3])),
        collimation_deg=float(np.clip(rng.normal(0, 2.5), -6, 6)),
        marker=case.side.value[0].upper(),
        marker_at=(float(rng.choice((0.07, 0.93))), rng.uniform(0.08, 0.92)),
        marker_size=rng.uniform(0.8, 1.25),
        marker_plate=bool(rng.random() < 0.4),
    )
