"""What test_score.py and the figures stand on: maps paired with masks, scored, put into tables."""
