"""From a file to the canonical operator graph."""
