"""What a contributor may implement: data, models, posteriors, objectives, procedures and decoders.

Each file holds one interface: its abstract methods must be written, its other methods are hooks
that do nothing unless a class overrides them.
"""
