"""Evaluation: how good the lists are.

ranking  Recall, NDCG, MRR, Precision over full rankings of the catalogue
"""
