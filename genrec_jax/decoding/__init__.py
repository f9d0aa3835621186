"""Decoding: from a model's logits to a ranking of the whole catalogue.

  trie         the items as a prefix trie of level arrays
  constraints  which nodes a request may not follow
  beam_search  the K best items, exact scores of all items, T5X's `decode_fn`
  recommend    model + trie -> one jitted function from a batch to lists

Everything here is a pure function of arrays; the model comes in as
`tokens_to_logits`.
"""
