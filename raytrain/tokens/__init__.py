"""From kept text to numbered sequences: tokenizer, token shards, the order in which training meets them."""
