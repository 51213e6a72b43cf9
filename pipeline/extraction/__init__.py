"""From pending rows to whole shards in a store."""
