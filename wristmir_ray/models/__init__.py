"""Weights in, arrays out: the detectors and the encoder. Heavy imports stand inside the loaders."""
