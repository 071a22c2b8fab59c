"""Look at a directory without running it, and mend it: `verify`, `events`, `repair`."""
