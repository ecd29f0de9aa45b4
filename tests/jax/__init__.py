"""jax_bindings, its demo, and whole programs of users."""
