"""Which case, or which slice of a case, sample n is of; with several data sets, in which shares."""
