"""The A/B harness: servers side by side on the same conversations, judged by what a client gets."""
