"""Join, summarise and check data sets in one index, and read and write nnssl's list of images."""
