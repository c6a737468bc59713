"""Exit codes, the same for every command."""

DONE = 0
FAILED = 1
USAGE = 2
PARTLY = 3
UNCHECKED = 4
