"""RememBEV: PointPillars with a memory."""
