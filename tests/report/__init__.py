"""The page: what it holds, and what a browser makes of it."""
