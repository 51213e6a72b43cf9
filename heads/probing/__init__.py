"""Linear probes: which cached features tell fakes from reals, hundreds of them on one read."""
