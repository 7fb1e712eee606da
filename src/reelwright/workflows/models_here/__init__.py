"""What there is of models on this machine: found, recognized, read, fetched, written in another form."""
