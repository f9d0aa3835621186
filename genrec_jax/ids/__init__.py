"""Who the items are: short sequences of codes, made from train interactions.

item_ids               ItemIds (item to codes), TokenLayout (codes to tokens)

Vectors of items:
svd                    item factors from interactions; quantile codes (GPTRec)
truncated_svd          exact and randomized solvers
content                vectors from files and from the items' text
vectors                vectors of several sources: checked, joined, aligned

Codes from vectors:
residual_quantization  residual k-means
product_quantization   a sub-space a level, after a learnt rotation or none
rq_vae                 residual quantization of a learnt latent (TIGER)
rq_vae_training        its network, loss, dead codes and training

Codes from elsewhere:
cooccurrence           how often two items were taken by one user
collaborative          paths in a tree of co-occurrence clusters (Hua et al.)
textual                the first pieces of titles
simple                 random, atomic, sequential, hybrid; the shuffled control
users                  user codes: hashed, or by the methods for items

For items and users that come later:
cold_start             what is known of them, and the codes that follow
free_codes             codes that no item has: the nearest, or by vote
new_items              the items that were added to a run, on disk
quantizer              codebooks, kept with the ids

What models start from:
token_vectors          what the items of a token have in common

What the codes mean:
inspection             do items that share a prefix belong together?

Beneath them:
collisions             giving different items different codes
kmeans                 k-means over a mesh, plain and balanced
row_blocks             functions of rows in blocks over a mesh
"""
