"""Language models behind one seam: reports with their prompts in, raw answers out."""
