"""People: what they decided about images, and packages of images for the tools that they work in."""
