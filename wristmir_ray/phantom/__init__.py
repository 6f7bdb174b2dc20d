"""Synthetic paediatric wrists with reports and ground truth: demo, tests, benchmarks."""
