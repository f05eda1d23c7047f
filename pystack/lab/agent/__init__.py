"""The agents' side of the lab's line protocol; see PROTOCOL.md beside this file.

Nothing here is imported by the lab: these are programs, which run where the Host is.
"""
