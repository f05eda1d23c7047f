"""The only importer of the compiled extension."""
