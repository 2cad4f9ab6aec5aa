"""The statistics: pure functions on arrays, numpy alone, randomness always an explicit argument.

The unit of every interval and every permutation is the image, never the object or the pixel.
"""
