"""Faults: crashes, full and broken disks, damaged files, and what is left then."""
