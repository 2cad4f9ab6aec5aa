"""Synthetic data with known labels, a compact labeler, and a gate that says whether they help."""

__version__ = "0.1.0"
