"""Several data sets in one index: joined, described, checked for outliers, and read from nnssl's list of images."""
