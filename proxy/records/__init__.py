"""What is kept of a request: its record, the ledger, metrics, the statistics of sessions."""
