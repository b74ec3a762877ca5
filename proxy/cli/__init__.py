"""The commands: serve, repair, demo, doctor, cache, ledger."""
