"""From blocks to source, and where their data lie: C, programs, weights."""
