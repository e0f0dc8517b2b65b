"""`make demo`: the real service under real traffic, with every promise of a rollout checked."""
