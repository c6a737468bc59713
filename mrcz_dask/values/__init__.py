"""Layer 0: errors, parameters, events and window arithmetic; the standard library alone."""
