"""What happened: interactions, items and users, on NumPy and Arrow alone.

dataset      Dataset, and build_dataset: from raw tables to numbered rows
readers      one module a raw format, each yields the same RawTables
catalogue    the data sets of configs/datasets/*.toml, and a user's own
simulator    the embedded default
splits       the one split that all tasks share
audit        what fails a run whose targets leak
token_cache  token arrays on disk, all that training needs
batches      length-bucketed, resumable batches of them
"""
