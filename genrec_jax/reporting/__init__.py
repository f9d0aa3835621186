"""What a person looks at after a run.

figures         the pictures: curves, the ID space, what codes tell
page            the self-contained HTML pages that hold them
task_sections   the measures of each task beside its floors
bias_section    what accuracy hides
hallucination_section what answers say that is not so
hallucination_tables  its tables, for a terminal too
worked_examples what a model answers to requests, for its page
lookup          the items of a prefix, and those like an item
"""
