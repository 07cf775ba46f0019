"""What is seen and moved: the explorables of every chapter."""
