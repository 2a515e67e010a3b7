"""Students cut out of the teacher by least squares."""
