"""uncollapse: compare remedies for KL vanishing in VAEs."""
