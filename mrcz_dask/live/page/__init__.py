"""The web page that shows a live session."""
