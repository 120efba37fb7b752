"""What a run leaves behind: the schema, the atomic store, the cache of expensive stages and the W&B mirror."""
