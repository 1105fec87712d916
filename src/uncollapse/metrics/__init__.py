"""Metrics: small functions of one evaluation pass, each returning {name: value}; every quantity is in nats per example."""
