"""The search space, and which candidate of it to try next."""
