"""Tasks of one's own: files of labelled texts, with or without a task.toml that describes them."""
