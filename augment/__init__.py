"""The data factory: label maps in, shards of (image, label map) pairs out, made by a trained generator."""
