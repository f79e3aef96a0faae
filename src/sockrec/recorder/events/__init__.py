"""What happened between the samples: event sources, and what is made of them for the ledger and the disk."""
