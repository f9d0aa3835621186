"""Measuring: how good a checkpoint's answers are, beside what it must beat.

measured   what comes of measuring one task
train_data what floors learn from: the train part of the dataset
items      lists of items; in dialogues also
unseen     lists with places kept for items that training never saw
penalties  lists corrected for popularity
invented_items  what is decoded without the trie, and what it costs
hallucination  ratings, mentions and claims that are not so
bias       what accuracy hides: popularity, variety, groups of users
wishes     do lists obey what prompts wish for
choices    ratings and yes or no
texts      explanations, reviews, summaries
replies    turns of dialogues that may name items
task       the one place that decides by the kind of a task's answer
baselines  simple recommenders, fitted and measured without a checkpoint
tuning     their hyper-parameters, chosen on validation
cost       time, memory and operations of lists, of a model and of baselines
timing     seconds of calls, of several sides that take turns
watching   cheap measures of all tasks during training
"""
