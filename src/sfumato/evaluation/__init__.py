"""How good a model or a set of images is: samples drawn to disk, measured beside real images, told in a table."""
