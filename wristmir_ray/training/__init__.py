"""One CLIP model for whole wrists and bones: the multi-positive fine-tune on Ray Train (WristMIR §3.1)."""
