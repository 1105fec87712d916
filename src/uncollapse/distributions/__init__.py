"""Shared by several posteriors: normals, batch moments, Monte Carlo estimates and precision."""
