"""Printers: plain rows in, the exact text of the live tools out; no capture is read here."""
