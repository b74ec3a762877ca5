"""The engine: tokens in, text out, in a process of its own. It knows nothing of HTTP or of tool calls."""
