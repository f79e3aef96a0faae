"""What the kernel's events add to a recording, through the installed command, against counted truth."""
