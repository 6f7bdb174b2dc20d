"""From report text to grounded findings and captions (WristMIR §2.3, Appendix H)."""
