"""Distances between sets of images."""
