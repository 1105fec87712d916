"""Metrics and samples of finished runs that are too expensive to compute during training."""
