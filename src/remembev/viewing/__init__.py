"""Pictures: a frame from above, a scene as a moving picture, a run as a report."""
