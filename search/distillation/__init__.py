"""The teacher, students cut out of it, and how they learn."""
