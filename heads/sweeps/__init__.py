"""Many runs over one store, and their table."""
