"""Other tools' interfaces, for code that was written for them."""
