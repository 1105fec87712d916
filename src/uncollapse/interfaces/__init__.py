"""Interfaces that a contributor may implement, from data and models to procedures and decoders.

Each file holds one interface. Its abstract methods must be written; its other methods are hooks,
which do nothing unless a class overrides them.
"""
