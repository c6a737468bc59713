"""Hot and dead pixels of a stack: found in the histogram of its sum, filled from good pixels around."""
