"""The order of dimensions: which permutation each tensor is stored in, chosen by cost.

``layouts`` says what an order is, ``rules`` how operators carry one from inputs to outputs,
``problem`` what a graph with chosen orders costs, ``choosing`` finds a cheap choice and
``rewriting`` puts it into the graph.
"""
