"""What models learn from: videos, dense truth and text of the world's scenes, as arrays, from seeds. No torch."""
