"""Letters of models: two share one where they are not told apart."""

from __future__ import annotations

from collections.abc import Sequence
from string import ascii_letters

import numpy as np

LETTERS = ascii_letters + "".join(map(chr, range(0x100, 0x250)))
"""One character each: k models need k²/4 at most, and hardly ever more than k."""


def letters(apart: Sequence[Sequence[bool]] | np.ndarray) -> list[str]:
    """Compact letter display: two models have a letter in common if and only if they are not told apart.

    The display is Piepho's (2004), "An algorithm for a letter-based representation of all-pairwise comparisons",
    Journal of Computational and Graphical Statistics 13. A letter is a clique of the graph of pairs that are not told
    apart. Cliques are grown one after the other until they hold every such pair (Gramm et al. 2007, "Algorithms for
    compact letter displays: comparison and evaluation", Computational Statistics & Data Analysis 52): insertion and
    absorption, as published first, finds all largest cliques, of which there may be exponentially many.

    Parameters
    ----------
    apart : bool array of shape (k, k)
        Symmetric; the models in the order of their values, for the first has the letter a.

    Examples
    --------
    >>> letters([[False, False, True], [False, False, False], [True, False, False]])
    ['a', 'ab', 'b']
    """
    alike = ~np.asarray(apart, bool) | np.eye(len(apart), dtype=bool)
    held = np.zeros_like(alike)
    found = [""] * len(alike)
    n_letters = 0
    for i, j in np.argwhere(np.triu(alike)):  # the pair (i, i), too: a model that is alike none has its own letter
        if held[i, j]:
            continue
        clique = sorted({i, j})
        able = alike[i] & alike[j]
        able[clique] = False
        while able.any():  # the model whose pairs with the clique are held least
            k = int(np.argmax(np.where(able, (~held[:, clique]).sum(1), -1)))
            clique.append(k)
            able &= alike[k]
            able[k] = False
        held[np.ix_(clique, clique)] = True
        for k in clique:
            found[k] += LETTERS[n_letters]
        n_letters += 1
    return found
