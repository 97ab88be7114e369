"""Methods that ask a model something. They see it only as a Denoiser, never as a model family."""
