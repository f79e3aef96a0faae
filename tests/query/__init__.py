"""Questions about captures."""
