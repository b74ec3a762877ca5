"""The HTTP server: routes, server-sent events, settings, health, and the start with its checks."""
