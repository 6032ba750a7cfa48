"""Show a person what happens: messages, tables, progress."""
