"""What was at a moment, and moments one after the other at their own pace."""
