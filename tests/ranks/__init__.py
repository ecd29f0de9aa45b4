"""What needs real ranks, and in `programs` what these run."""
