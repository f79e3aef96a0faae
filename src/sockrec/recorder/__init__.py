"""The recorder: turns readings of the kernel into changes, and changes into a capture."""
