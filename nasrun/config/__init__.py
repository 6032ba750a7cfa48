"""Type, compose and check configurations; build plug-ins from them."""
