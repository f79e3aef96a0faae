"""Names, bytes and captures that somebody made to do harm."""
