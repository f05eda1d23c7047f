"""A mature C TCP/IP stack (lwIP) as an ordinary Python object."""
