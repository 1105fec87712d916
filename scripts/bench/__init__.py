"""Measurements of speed, one file per question; `python scripts/bench all` answers all."""
