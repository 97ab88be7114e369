"""InvMM: how far the noise must be moved before an image comes back."""
