"""What keeps a store sound: verification, repair, salvage."""
