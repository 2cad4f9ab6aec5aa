"""`synthgen benchmark`: does synthetic data help on these data? Arms of one budget, paired seeds, one locked test.

`arms` says what is trained, `trainings` trains and scores it, `analysis` compares, `words` says it.
"""
