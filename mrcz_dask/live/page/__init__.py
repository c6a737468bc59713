"""The web page of a live session."""
