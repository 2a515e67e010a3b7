"""The teacher: where it comes from, what is checked of it, and how it is fine-tuned."""
