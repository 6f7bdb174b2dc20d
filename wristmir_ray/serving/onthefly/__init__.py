"""Bones of a non-cached archive, computed as they are asked for (WristMIR App. F).

Search ──pool──> Flights (one an application: cache, one computation an exam) ──batches──> Look (fetch, decode,
  ▲                 │                                                                        bones) ──> Encode
  └──vectors────────┘
"""
