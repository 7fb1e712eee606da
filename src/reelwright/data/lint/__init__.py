"""What may be wrong with the clips of a data set: one file for each kind of finding, and the mending."""
