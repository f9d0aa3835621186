"""What a person looks at after a run, or several.

page            the self-contained HTML pages, with one stylesheet
charts          pictures as SVG: lines, spots, bars, maps, with intervals
drawing         what they are drawn of
figures         pictures of IDs, of probabilities, of what answers are made of
training_curves how training went
task_sections   the measures of each task beside its floors
bias_section    what accuracy hides
cost_section    what a request costs
hallucination_section what answers say that is not so
hallucination_tables  its tables, for a terminal too
worked_examples what a model answers to requests, for its page
lookup          the items of a prefix, and those like an item

run_records     the ledger: what runs hold, and what they lack
ledger_tables   what of them may be compared, with intervals
published       published rows, and where the protocols differ
ledger_page     the page of all that
"""
