"""One sample on the screen: its prompt, output, choices and everything else that is known of it."""
