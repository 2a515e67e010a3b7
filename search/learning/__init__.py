"""What training needs of a task: encoded texts, the training loop, and whether anything was learnt."""
