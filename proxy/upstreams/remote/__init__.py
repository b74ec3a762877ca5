"""Other servers and hosted models: routing, failover, parameters, refusals."""
