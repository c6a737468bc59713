"""Find a stack's hot and dead pixels in the histogram of its sum, and fill them from good pixels around."""
