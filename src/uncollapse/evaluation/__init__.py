"""Numbers and samples of finished runs that cost too much to compute during training."""
