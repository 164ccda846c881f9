"""Import volumes of other formats as brick stores: DICOM, MetaImage, NRRD, NumPy, nnU-Net's Blosc2 arrays, NIfTI."""
