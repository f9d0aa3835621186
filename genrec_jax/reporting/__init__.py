"""What a person looks at after a run.

figures   the pictures: curves, the ID space, what codes tell
page      the self-contained HTML pages that hold them
lookup    the items of a prefix, and those like an item
"""
