"""Finished runs in Python: `load` opens one, `load_study` reads the numbers of all."""
