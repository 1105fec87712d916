"""Which weights are updated when: one file for each remedy, named after its head."""
