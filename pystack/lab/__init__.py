"""The lab: the same requirement of an RFC, tried on every stack that can be put on a wire."""
