"""The passes of a search, in the order in which the pipeline takes them."""
