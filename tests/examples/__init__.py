"""A training job for a cluster, and its tests."""
