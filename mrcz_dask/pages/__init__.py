"""Style, template and server that the pages share: monitor, live frames, report."""
