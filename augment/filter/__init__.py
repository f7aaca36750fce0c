"""Which pixels and which samples of finished shards a segmenter should not learn from."""
