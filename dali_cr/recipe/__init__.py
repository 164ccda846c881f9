"""What the user asks for: Swap, Restoration, Views, Slices. Draws nothing, reads nothing."""
