"""What several posteriors share: the normal distribution, batch moments, Monte Carlo estimates and number precision."""
