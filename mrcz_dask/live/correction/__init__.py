"""Corrects live frames: applies the gain, fills outliers, subtracts the pattern found in earlier stacks."""
