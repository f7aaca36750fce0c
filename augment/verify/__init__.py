"""Are these shards what their plan says?"""
