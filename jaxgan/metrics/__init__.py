"""Metrics: distances between sets of images and what a set holds; of a generator, of pairs; the networks whose features they use,
and `protocols`, which fix how a number is measured."""
