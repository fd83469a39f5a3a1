"""Elements that scene sets are composed of; each adds something to a WorldBuilder."""
