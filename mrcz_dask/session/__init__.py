"""Sessions on disk: find their stacks and order, keep sums in the session store, write the log, lock the
output folder.
"""
