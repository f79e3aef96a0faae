"""A small real incident: a service on port 7071 that crashes and comes back, and its clients."""
