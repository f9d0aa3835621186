"""Decoding: from a model's logits to a ranking of the whole catalogue.

The catalogue:
  item_codes        a table of tokens, packed and sorted
  child_ranges      which nodes are the children of a node
  bitmaps           sets of codes
  level_logits      the model's logits as a level sees them
  selection         the largest of wide rows
  constraints       what a request may not follow: lists and views
  sparse_level      one step, where beams gather their own children
  levels            one step: from beams to their best children
  trie              the level arrays
  trie_builder      from items to a trie
  trie_files        a trie on disk
  live_catalogue    a trie whose items come and go
  sharded_trie      a trie cut by items over a mesh, and its builder

The search:
  beam_search       the K best items
  catalogue_scores  the exact scores of all items, and what lies outside
  free_beam         the same beams without the trie: what a model would invent
  item_grammar      the trie as a grammar, for items that are drawn
  examples          a function of batches, over all examples
  t5x               the search as T5X's models call it
  recommend         model + trie -> one jitted function from a batch to lists
  block_states      what the encoder's first layers make of items, kept
  cold_share        a share of each list for items that training never saw
  popularity_penalty lists corrected for popularity
  new_users         examples of users who are not in the data

Text:
  texts             a text, and grammars: which tokens may follow
  sampling          greedy, temperature, top-k and nucleus
  text_beam         the likeliest texts
  ratings           answers that are given: expected ratings, yes or no
  mentions          items named in text, which cannot be invented

Everything here is a pure function of arrays; the model comes in as
`tokens_to_logits`.
"""
