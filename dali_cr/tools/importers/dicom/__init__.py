"""DICOM files to series, series to volumes: their headers, their slices in order, their voxels."""
