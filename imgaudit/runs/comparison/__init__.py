"""Two finished runs compared: what changed, image by image."""
