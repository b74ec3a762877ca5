"""One request under the guard: attempt, repair, asking again, giving up; loops, drift, several answers."""
