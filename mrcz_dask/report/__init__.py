"""The report of a session for people: a web page, figures, and the same data as JSON."""
