"""Options of all commands, each group declared once."""
