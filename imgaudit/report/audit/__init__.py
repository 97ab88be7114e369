"""The pages of an audit: the index and one page per image."""
