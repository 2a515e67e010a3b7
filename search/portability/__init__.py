"""The portability study: devices measured on the same models, or their table."""
