"""What kills the engine of `tests.poison`, without importing vLLM."""

POISON = "§§§"
DEADLY = "tests.poison:Deadly"
