"""Old runs: what no published run was made from is deleted, once asked to."""
