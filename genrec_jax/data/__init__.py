"""What happened: interactions, items and users, on NumPy and Arrow alone.

dataset      Dataset, and build_dataset: from raw tables to numbered rows
readers      one module a raw format, each yields the same RawTables
catalogue    the data sets of configs/datasets/*.toml, and a user's own
simulator    the embedded default
synthetic    catalogues of any size, to see what grows with them
texts        reviews and explanations: cleaned, joined
dialogues    the table of turns, and the items that they mention
splits       the one split that all tasks share
dialogue_split  its parts of dialogues, and their examples
audit        what fails a run whose targets leak
text_audit   the same of texts
token_cache  token arrays on disk, all that training needs
mixtures     how often each task of several is trained on
batches      length-bucketed, resumable batches of them
batch_plans  which requests make a batch, in a few shapes
"""
