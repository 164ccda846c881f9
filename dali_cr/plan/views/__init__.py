"""Plans of `Views`: boxes of views, their rotation and scale, and what is done to their intensities."""
