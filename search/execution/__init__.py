"""Where trials run: in this process one after another, or on the workers of a Ray cluster."""
