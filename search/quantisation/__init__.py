"""What int8 does to a model's answers, before it is compiled."""
