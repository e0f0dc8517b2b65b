"""Six replicas, one PostgreSQL, one load balancer: what holds over all of them, measured."""
