"""Order of the cases, or of their slices, over the samples; with several data sets, in shares by weight."""
