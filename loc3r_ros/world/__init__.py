"""The synthetic indoor world: furnished rooms, a renderer, walks through them and language about them.

A cartoon to train and demonstrate a small model with, never a stand-in for real rooms.
"""
