"""Read gain references, darks and lists of defects, check them against a session, and apply them."""
