"""Attention maps of published encoders over the archive's crops (WristMIR Figs. 3 and 5, App. D)."""
