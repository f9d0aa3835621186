"""What is near to an example among the train data: items, and sentences.

  words       texts as counts of words
  bm25        by the words that they share (Okapi BM25)
  dense       by the inner product of vectors, over all of them
  search      the nearest of all documents, or of a pool for each query
  items       items near to a history, or to the words of a dialogue
  sentences   train texts of the item and of the user; turns of dialogues
  audit       no example has retrieved what it must not know

No example retrieves its own row, and none that is held out.
"""
