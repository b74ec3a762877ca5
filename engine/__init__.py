"""The engine: tokens in, text out, in a process of its own. Knows nothing of HTTP or of tool calls."""
