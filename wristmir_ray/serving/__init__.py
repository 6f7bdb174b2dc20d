"""Serving: one query over HTTP, answered by a graph of Ray Serve deployments."""
