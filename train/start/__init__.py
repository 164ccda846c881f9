"""How a command starts: its arguments, the settings of an earlier run, interrupts, missing packages."""
