"""How a student learns from its teacher."""
