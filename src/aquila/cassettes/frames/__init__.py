"""Conversations over WebSockets: what they are, and which frames a replay delivers when.

Imports the model and ``matching``; nothing here knows a client or does I/O. Begin with ``frame``: a conversation is
stored as the answer to its handshake, an event stream in which each frame is an event.
"""
