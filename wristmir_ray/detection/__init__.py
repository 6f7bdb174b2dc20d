"""Trains the two detectors: the wrist in the whole image, the bones in the enhanced wrist (WristMIR §2.2, App. G)."""
