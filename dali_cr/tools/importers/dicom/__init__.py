"""Import DICOM: read headers, group files into series and volumes, sort slices, and decode voxels."""
