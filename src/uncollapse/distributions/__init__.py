"""What several posteriors share: normals, batch moments, Monte Carlo estimates and precision."""
