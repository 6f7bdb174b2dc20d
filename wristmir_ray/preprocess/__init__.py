"""Finds the wrist and its bones in every exam and cuts the crops that everything later reads (WristMIR §2.2)."""
