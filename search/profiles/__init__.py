"""Profiling a device as one pipeline."""
