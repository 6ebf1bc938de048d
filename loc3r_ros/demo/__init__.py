"""What the demonstration asks the node, and how right the answers are: the world knows the truth."""
