"""Files: untrusted images, captions, tables and folders read within bounds, our own written atomically."""
