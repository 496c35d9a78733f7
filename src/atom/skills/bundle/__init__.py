"""Reading a bundle from a file, a folder, an archive or uploaded bytes into memory."""
