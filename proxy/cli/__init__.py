"""The commands: serve, connect, repair, demo, doctor, cache, ledger."""
