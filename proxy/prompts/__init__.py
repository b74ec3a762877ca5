"""A conversation as the model's own prompt: rendering, canonical rules, answer tokens, think time."""
