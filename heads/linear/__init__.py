"""Linear probes in closed form: moments of rows, normalisations, and solvers."""
