"""Object stores: objects by name, claims in them, and local copies of what they hold."""
