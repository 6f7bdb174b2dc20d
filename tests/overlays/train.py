"""Trains the gate's network: a few of one hidden layer each, averaged, which is again one of one hidden layer."""

from dataclasses import replace

import numpy as np
from scipy.optimize import minimize

from tests.overlays.harvest import TEXT, UNKNOWN, Harvest
from wristmir_ray.imaging.scorer import Scorer

UNITS, NETWORKS = 12, 3
RIDGE = 5e-4
STEPS = 120
ASIDE = 0.3
"""What rows beside the text of an exam weigh, of what those of an exam without text do."""


def train(harvest: Harvest) -> Scorer:
    """Return a scorer of which each exam's best row, softly, is right: its text where it has some, none elsewhere."""
    low, high = np.percentile(harvest.figures, (0.5, 99.5), axis=0)
    blank = Scorer(low, np.maximum(high, low + 1e-6), np.zeros((len(low), 0)), np.zeros(0), np.zeros(0), 0.0)
    inputs = blank.inputs(harvest.figures)
    nets = [_one(inputs, harvest, seed) for seed in range(NETWORKS)]
    return replace(
        blank,
        hidden=np.concatenate([net[0] for net in nets], axis=1),
        bias=np.concatenate([net[1] for net in nets]),
        out=np.concatenate([net[2] for net in nets]) / NETWORKS,
        offset=float(np.mean([net[3] for net in nets])),
    )


def _one(inputs: np.ndarray, harvest: Harvest, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, float]:
    bags = _bags(harvest)
    order = np.argsort(bags, kind="stable")
    x, (_, starts, bag) = (
        inputs[order].astype(np.float32),
        np.unique(bags[order], return_index=True, return_inverse=True),
    )
    kind = bags[order][starts] % 3
    sign = np.where(kind == 1, 1.0, -1.0)
    share = np.array([1.0, 1.0, ASIDE])[kind] / np.bincount(kind, minlength=3)[kind]
    rng, d = np.random.default_rng(seed), x.shape[1]
    sizes = np.cumsum([d * UNITS, UNITS, UNITS])

    def split(v: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, float]:
        w, b, u, c = np.split(v.astype(np.float32), sizes)
        return w.reshape(d, UNITS), b, u, float(c[0])

    def loss(v: np.ndarray) -> tuple[float, np.ndarray]:
        w, b, u, c = split(v)
        z = np.tanh(x @ w + b)
        rows = z @ u + c
        most = np.maximum.reduceat(rows, starts)
        near = np.exp(rows - most[bag])
        total = np.add.reduceat(near, starts)
        margin = sign * (most + np.log(total))
        pull = ((-share * sign / (1 + np.exp(margin)))[bag] * near / total[bag]).astype(np.float32)
        inner = np.outer(pull, u) * (1 - z * z)
        value = (share * np.logaddexp(0, -margin)).sum() + RIDGE * ((w**2).sum() + (u**2).sum())
        slopes = [(x.T @ inner + 2 * RIDGE * w).ravel(), inner.sum(0), z.T @ pull + 2 * RIDGE * u, [pull.sum()]]
        return float(value), np.concatenate(slopes).astype(np.float64)

    start = np.concatenate([rng.normal(0, d**-0.5, d * UNITS), np.zeros(UNITS), rng.normal(0, UNITS**-0.5, UNITS), [0]])
    return split(minimize(loss, start, jac=True, method="L-BFGS-B", options={"maxiter": STEPS}).x)


def _bags(harvest: Harvest) -> np.ndarray:
    """Return (rows,) numbers of what is judged together: 3 n for exams without text, + 1 for text, + 2 beside it."""
    is_text = (harvest.truth == TEXT) | (harvest.truth == UNKNOWN)
    return np.asarray(3 * harvest.owners + np.where(harvest.has_text[harvest.owners], np.where(is_text, 1, 2), 0))
