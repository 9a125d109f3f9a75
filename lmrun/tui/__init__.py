"""The terminal app: watch, steer and read runs. A client of the run store and of an engine's control socket."""
