"""Drivers of the loop, and the streams that callers hold. Begin with ``drivers``; the twins are thin shells."""
