"""The page of a running server: one document, and the stream of events that fills it."""
