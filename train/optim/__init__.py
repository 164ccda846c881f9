"""How weights change: optimisers, learning-rate schedules, averages of weights, a frozen encoder. Knows no run."""
