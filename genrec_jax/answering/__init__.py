"""Answering: what a checkpoint says to the examples of any task.

run      a checkpoint with its vocabulary, its trie and its parser
facts    what is known of a task: what kind of answer it has, and of what
source_ids  ids of the source, and items that came later
prompts  tokens as a person reads them, and texts as a model does
items    lists of items
item_paths  what is written for an item, with the trie or without
choices  ratings and yes or no, by the probabilities of the choices
texts    texts and replies, and how they are decoded
histories   examples of users who are not in the data
serving  requests in any number and of any length, in a few shapes
answer   the one place that decides by the kind of a task's answer
"""
