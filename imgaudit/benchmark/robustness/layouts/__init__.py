"""Every way in which formats lay out a picture, each with the pixels that it holds: read rightly, or refused."""
