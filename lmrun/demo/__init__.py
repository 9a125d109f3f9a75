"""The embedded default: a small language model of the project's own, and what it takes to make it again.

``world`` holds the word lists and the invented islands, ``corpus`` writes texts about them (the training stream and the
held-out docs of the bundled demo tasks), ``train`` turns the stream into the model in ``model/``.
"""
