"""Embeddings and the index: build it, load it, search it (WristMIR §3.2)."""
