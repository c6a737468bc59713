"""Style, HTML and server that all web pages share: those of runs, of live frames, and reports."""
