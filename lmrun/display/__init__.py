"""How `lmrun batch` shows a run: rich progress, plain lines, JSON."""
