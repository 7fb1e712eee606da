"""From data sets to caches: what there is to do, who does it, and what is there in the end."""
