"""Options of the command line: every group is declared once, for all commands."""
