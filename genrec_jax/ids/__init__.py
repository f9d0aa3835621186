"""Who the items are: short sequences of codes, made from train interactions.

item_ids               ItemIds (item to codes), TokenLayout (codes to tokens)
svd                    item factors from interactions; quantile codes (GPTRec)
residual_quantization  residual k-means codes over any vectors
collisions             giving different items different codes
simple                 random and atomic ids; the shuffled-id control
users                  user codes: hashed, or made from item factors
"""
