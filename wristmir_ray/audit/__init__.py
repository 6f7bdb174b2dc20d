"""The audit of mined reports: what can be checked by itself, and a sheet on which people mark a sample."""
