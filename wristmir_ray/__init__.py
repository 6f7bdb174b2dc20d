"""Region-aware retrieval of paediatric wrist radiographs (WristMIR) as a distributed system on Ray."""

__version__ = "0.1.0"
