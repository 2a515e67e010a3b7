"""From the canonical graph to blocks."""
