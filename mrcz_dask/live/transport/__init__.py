"""Sources of live frames: a network socket, a folder, a replay of existing stacks."""
