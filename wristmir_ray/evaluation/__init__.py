"""Evaluation: the tables of the paper on any archive (WristMIR §4, App. D to G)."""
