"""What shows that the protocol is right, and that the tests would notice if it were not."""
