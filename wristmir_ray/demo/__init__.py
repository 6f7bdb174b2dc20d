"""The whole line on one machine, on a synthetic archive: steps, meter, figures, report."""
