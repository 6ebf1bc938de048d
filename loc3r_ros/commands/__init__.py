"""The verbs of `loc3r`, one module each; heavy imports belong inside `run`, so that `loc3r --help` stays fast."""
