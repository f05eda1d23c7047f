"""The cases, a module an area. Importing one registers its cases."""
