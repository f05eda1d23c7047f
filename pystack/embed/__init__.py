"""A Stack inside other libraries and tools, each in a module that is imported by itself."""
