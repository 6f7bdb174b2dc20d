"""What kills the engine of `tests.poison`, without importing vLLM."""

POISON = "§§§"
DEADLY = "tests.poison:Deadly"
NOTES = "WRISTMIR_TEST_NOTES"
"""Environment variable: a file that gets the number of each report an engine takes in, a line each."""
