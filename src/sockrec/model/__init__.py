"""Pure facts shared by every floor: tables and columns, states, addresses, time expressions."""
