"""Label models: what several labelling functions say of the same images, made into one label with a probability.

One model runs through all of them, Dawid and Skene's (1979): the truth is hidden, each function has rates of its own at
which it says one class where another is true, and given the truth the functions err independently. Items are images
(`classes`), pixels (`pixels`, where it is STAPLE) or matched objects (`instances`). Functions that copy each other
break the independence and count twice; no label model can see that from votes alone.
"""
