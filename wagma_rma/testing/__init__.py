"""What it takes to test a window, or the protocol over one, in a single process."""
