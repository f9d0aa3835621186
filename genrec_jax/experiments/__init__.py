"""Experiments: runs that differ in one thing, beside each other.

arms        what an arm is, and how its commands are run
measures    what is read from an arm beside its metrics
comparison  the arms' metrics with intervals, and who is ahead
"""
