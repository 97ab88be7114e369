"""Model families: one adapter per family, and the registry that names them."""
