"""What a run found out about its session and its detector, as a page for people, as figures, as data."""
