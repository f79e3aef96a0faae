"""The docs site and what its pages show."""
