"""Live frames without gain, outliers and the pattern of earlier stacks."""
