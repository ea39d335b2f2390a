"""The embedded dataset ``almanac``, of facts about territories."""
