"""How it is measured: worker processes, clocks, usage, machine, results."""
