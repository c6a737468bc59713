"""The lowest layer: errors, parameters, records, messages and windows, with the standard library alone."""
