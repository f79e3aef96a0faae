"""Reading Linux: sockets, their owners, processes, clocks. Kernel spelling lives only here."""
