"""A world in one thread: virtual time, a disk that can lose power. The product runs in it unchanged."""
