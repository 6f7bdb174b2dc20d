"""Pixels: bytes to an 8-bit radiograph, enhancement, crops. Pure functions, shared by jobs and serving."""
