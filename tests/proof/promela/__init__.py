"""Promela models of the protocol, and what has SPIN check them."""
