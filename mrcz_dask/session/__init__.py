"""Sessions on disk: which stacks there are, their order, the store of sums, the log and the lock."""
