"""Sealed artifacts: a model at rest that nobody reads without a key, or changes without being seen."""
