"""What is pure: no ranks, or ranks as threads and in a simulation."""
