"""Export outputs to the next program: movies, lists of defects, STAR files, a README with commands."""
