"""`tlx demo`: the whole path on shipped data, offline. The one part that imports all three stages."""
