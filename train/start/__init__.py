"""Start of a command: arguments, settings of a resumed run, interrupts, missing packages."""
