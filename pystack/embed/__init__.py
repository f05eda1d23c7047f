"""What embeds a Stack in tools, and tools in a Stack."""
