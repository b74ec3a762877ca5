"""Other servers and hosted models as upstreams: routing, failover, parameters, refusals."""
