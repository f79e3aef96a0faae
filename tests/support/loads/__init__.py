"""Loads of short connections, counted on both sides: what a recording of them is compared with."""
