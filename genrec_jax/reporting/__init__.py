"""What a person looks at after a run.

figures   the pictures: curves, the ID space
page      the self-contained HTML page that holds them
"""
