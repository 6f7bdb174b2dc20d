"""Retrieval and classification figures over arrays (WristMIR §4.2, App. D and E)."""
