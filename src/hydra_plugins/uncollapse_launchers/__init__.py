"""Launchers of this package, where Hydra looks for them: hydra/launcher=joblib."""
