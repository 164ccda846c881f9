"""Several data sets in one index: join, summarise, find outliers, and read and write nnssl's list of images."""
