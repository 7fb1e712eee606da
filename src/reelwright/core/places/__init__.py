"""Places that a location may name: this machine's disks, tar files, and what fsspec reaches."""
