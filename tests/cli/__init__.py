"""Tests through the installed command."""
