"""One request under the guard: attempt, repair, re-ask, giving up; loops, drift, answers, deadline."""
