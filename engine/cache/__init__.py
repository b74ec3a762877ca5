"""The prefix cache: KV of past conversations, found by their tokens, kept in RAM and on disk."""
