"""Every number that is measured: its row in the catalogue, and the function that computes it."""
