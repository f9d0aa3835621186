"""What the model must beat, on the same split and by the same metrics.

protocol    what a baseline is; from scores to lists without silent ties
popularity  the items most used
markov      what followed the last item
item_knn    what is used by those who used the items of the history
item_graph  short walks over what followed what
ease        a linear model of items by items, in closed form
matrix_factorization  ALS and BPR
sasrec      what comes next, by self-attention over the history
multi_stage candidates by one method, ranked by another
methods     the table of these
dialogues   what the dialogue mentioned before

Of ratings and texts, by user and item:

rating_bias  the mean, and how high a user and an item are rated
texts        the most frequent text, a copied one, the first sentence
"""
