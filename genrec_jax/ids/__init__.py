"""Who the items are: short sequences of codes, made from train interactions.

item_ids               ItemIds (item to codes), TokenLayout (codes to tokens)
svd                    item factors from interactions; quantile codes (GPTRec)
truncated_svd          exact and randomized solvers
vectors                vectors of several sources: checked, joined, aligned
content                vectors from files and from the items' text
row_blocks             functions of rows in blocks over a mesh
kmeans                 k-means over a mesh, plain and balanced
product_quantization   a sub-space a level, after a learnt rotation or none
residual_quantization  residual k-means codes over any vectors
collisions             giving different items different codes
simple                 random and atomic ids; the shuffled-id control
users                  user codes: hashed, or made from item factors
"""
