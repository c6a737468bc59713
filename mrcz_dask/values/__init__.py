"""Layer 0: errors, parameters, messages and window arithmetic; the standard library alone."""
