"""What a class needs around the exercises: checking, progress, releasing, grading."""
