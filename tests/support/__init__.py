"""What tests share: namespaces, programs, populations, the installed command."""
