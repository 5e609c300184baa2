"""A course that grades itself: exercises made from the ops, a process that runs a student's code, marks in words."""
