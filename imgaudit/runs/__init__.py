"""Work that is kept in a folder and continued: audits, calibrations, detections, trigger searches, comparisons."""
