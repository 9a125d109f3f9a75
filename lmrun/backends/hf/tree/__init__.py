"""Shared prefixes computed once: rows as a trie of tokens, walked in packs, each token forwarded one single time."""
