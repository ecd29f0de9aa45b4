"""The library under gcc's sanitizers."""
