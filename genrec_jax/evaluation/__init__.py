"""Evaluation: how good what the model answers is.

output_parser  from decoded tokens to typed results, whatever a decoder gives
outputs        the results and named failures, and how metrics take them
ranking        Recall, NDCG, MRR, Precision over full rankings of the catalogue
rating         RMSE, MAE; AUC of yes/no
text           BLEU, ROUGE, distinct n-grams
explanation    USR, FMR, FCR, DIV: which features are named
conversation   Recall in dialogues, with and without what was mentioned before
hallucination  IDs that do not exist: of what kind, and where they leave
claims         what texts say of items that no metadata say
sentiment      do texts contradict the rating
bias           what lists show of the catalogue, and whom they favour
beyond_accuracy novelty, diversity, serendipity, personalisation
fairness       metrics by group of users, and how far groups are apart
significance   how sure a difference or a mean is
intervals      the same of a stored result, from the answers beside it
results        numbers on disk, with everything that made them

Top-N and sequential recommendation are measured by `ranking`, rating prediction
by `rating`, reviews and their summaries by `text`, explanations by `text` and
`explanation`, and the turns of dialogues by `conversation` and `text`.
"""
