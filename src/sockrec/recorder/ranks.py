"""Ranks: the kernel's row order, kept as numbers that a newcomer can slip between."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_LEAST_STEP = 2.0**-20


def assign(ranks: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Give every row a rank so that ranks rise strictly in array order.

    `ranks` holds, in the kernel's order now, each row's rank from before, NaN for a new row.
    Returns the ranks, and a mask of the old rows that had to be given another: those that changed
    places, and those in whose neighbourhood the room between two ranks ran out.
    """
    kept = ~np.isnan(ranks)
    if kept.all() and (ranks[1:] > ranks[:-1]).all():
        return ranks, np.zeros(len(ranks), np.bool_)
    new = ~kept
    kept[kept] = ~_out_of_place(ranks[kept])
    result = _interpolate(ranks, kept)
    reach = 32
    while (crowded := np.flatnonzero(np.diff(result) < _LEAST_STEP)).size:
        for place in crowded:
            kept[max(0, place - reach) : place + reach + 2] = False
        reach *= 2
        result = _interpolate(ranks, kept)
    return result, ~kept & ~new


def _out_of_place(ranks: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Mark rows whose removal leaves the rest rising, scanning from whichever end marks fewer.

    Two may have the same rank: a reading of listeners alone does not know the ranks between them.
    """
    forward, backward = (np.zeros(len(ranks), np.bool_) for _ in range(2))
    forward[1:] = ranks[1:] <= np.maximum.accumulate(ranks)[:-1]
    backward[:-1] = ranks[:-1] >= np.minimum.accumulate(ranks[::-1])[::-1][1:]
    return forward if forward.sum() <= backward.sum() else backward


def _interpolate(ranks: NDArray[np.float64], kept: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Space the rows that are not kept between their kept neighbours, 1 apart at the ends.

    Of the numbers between two neighbours those of the fewest binary digits are taken: they compress.
    """
    places = np.arange(len(ranks), dtype=np.float64)
    anchors = np.flatnonzero(kept)
    if not anchors.size:
        return places
    first, last = anchors[0], anchors[-1]
    result: NDArray[np.float64] = ranks.copy()
    result[:first] = np.floor(ranks[first]) - (first - places[:first])
    result[last + 1 :] = np.ceil(ranks[last]) + (places[last + 1 :] - last)
    between = np.flatnonzero(~kept[first:last]) + first
    above = np.searchsorted(anchors, between)
    below, above = anchors[above - 1], anchors[above]
    # n newcomers find n multiples of the greatest power of two that goes n + 1 times into their room.
    step = np.exp2(np.floor(np.log2((ranks[above] - ranks[below]) / (above - below))))
    result[between] = (np.floor(ranks[below] / step) + (between - below)) * step
    return result
