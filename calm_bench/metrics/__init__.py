"""Text metrics, one file each. Importing any of them imports `evaluate`, which takes seconds."""
