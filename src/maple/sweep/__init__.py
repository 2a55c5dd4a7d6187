"""Executing a study: check it, plan it, run it. The one place that wires stages together."""
