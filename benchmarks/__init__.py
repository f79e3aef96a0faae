"""What recording and asking cost, measured side by side with what else people use: `python -m benchmarks`."""
