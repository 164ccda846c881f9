"""Volumes of other formats to brick stores: DICOM series, MetaImage, NRRD, NumPy, nnU-Net's Blosc2 arrays, NIfTI."""
