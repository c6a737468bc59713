"""Sessions on disk: find stacks and their order, keep sums in a store, write the log, lock the folder."""
