"""Dataset sources: hub, local files, offline mirror."""
