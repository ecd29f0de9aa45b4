"""The tests, as a package: `pytest` from the checkout; see README.md here."""
