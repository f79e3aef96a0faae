"""Questions about a capture, answered from its catalog."""
