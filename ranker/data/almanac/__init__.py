"""The embedded dataset of made-up facts about real places."""
