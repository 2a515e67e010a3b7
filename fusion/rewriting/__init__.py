"""Laws of algebra as data, and the tiny matcher that applies them."""
