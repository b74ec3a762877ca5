"""The HTTP server: routes, server-sent events, settings, health, the start and its checks."""
