"""Measuring a compiled model, and other engines beside it."""
