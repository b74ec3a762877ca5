"""The prefix cache: keys and values of past conversations, found by their tokens, kept in RAM and on disk."""
