"""From next-word probabilities to a text: greedy, sampled, or by beam search.

A model hands over `step`: it reads the tokens it is given, after all that it read before, and returns the logits of
the next. What it remembers (a cache of keys and values) is its own business; beam search asks it to reorder that with
`select`.
"""

import numpy as np

from .array import to_device


def generate(
    step,
    start,
    *,
    end,
    max_tokens,
    temperature=0.0,
    top_k=None,
    top_p=None,
    beams=1,
    length_penalty=0.0,
    random=None,
    select=None,
):
    """Continues each row of `start` until its end token.

    step             tokens (B, t) -> logits (B, V) of the next token; called with `start` first, then one token a row
    start            int64 (B, t), the same number of tokens in every row
    end              the token that ends a text; it is the last of every row that came to an end
    max_tokens       how many to add at most
    temperature      0: the likeliest token (greedy). Above: sampled from softmax(logits / temperature), with `random`
    top_k            sample from the k likeliest only
    top_p            sample from the fewest likeliest that make up this share   (Holtzman et al. 2020, arXiv 1904.09751)
    beams            above 1: beam search for the likeliest whole text; `select(rows)` reorders what step remembers
    length_penalty   beam scores are divided by length ** length_penalty
    ->               a list of B int64 arrays, without `start`
    """
    if max_tokens < 1:
        raise ValueError(f"generate: max_tokens is {max_tokens}, must be at least 1")
    if beams < 1 or (beams > 1 and temperature > 0):
        raise ValueError(f"generate: beams is {beams} with temperature {temperature}; beam search needs temperature 0")
    if temperature < 0 or (temperature > 0 and random is None):
        raise ValueError(f"generate: temperature is {temperature}: must not be negative, and sampling needs random")
    if beams > 1:
        return _beam_search(step, np.asarray(start), end, max_tokens, beams, length_penalty, select)
    texts, running = [[] for _ in start], np.ones(len(start), dtype=bool)
    tokens = np.asarray(start)
    for _ in range(max_tokens):
        chosen = choose(to_device(step(tokens), "cpu"), temperature, top_k, top_p, random)
        for b in np.flatnonzero(running):
            texts[b].append(chosen[b])
        running &= chosen != end
        if not running.any():
            break
        tokens = chosen[:, None]
    return [np.array(text, dtype=np.int64) for text in texts]


def choose(logits, temperature=0.0, top_k=None, top_p=None, random=None):
    """One token for each row of logits (B, V); see `generate` for the rest."""
    if temperature == 0:
        return logits.argmax(-1)
    p = np.exp(_log_softmax(np.asarray(logits, np.float64) / temperature))
    order = np.argsort(-p, axis=-1, kind="stable")
    p = np.take_along_axis(p, order, -1)
    if top_k is not None:
        if top_k < 1:
            raise ValueError(f"generate: top_k is {top_k}, must be at least 1")
        p[:, top_k:] = 0
    if top_p is not None:
        if not 0 < top_p <= 1:
            raise ValueError(f"generate: top_p is {top_p}, must be above 0 and at most 1")
        p[np.cumsum(p, -1) - p >= top_p] = 0  # whoever is reached after the share is full
    share = np.cumsum(p, -1)
    drawn = random.random((len(p), 1)) * share[:, -1:]
    return np.take_along_axis(order, (share <= drawn).sum(-1, keepdims=True), -1)[:, 0]


def _log_softmax(x):
    x = x - x.max(-1, keepdims=True)
    return x - np.log(np.exp(x).sum(-1, keepdims=True))


def _beam_search(step, start, end, max_tokens, beams, length_penalty, select):
    """The `beams` likeliest beginnings of each text, all lengthened together; finished ones stay in the running."""
    B, rows = len(start), np.repeat(np.arange(len(start)), beams)
    # The beams of a text start out the same: only the first of them counts.
    score = np.where(np.arange(B * beams) % beams == 0, 0.0, -np.inf)
    texts = np.empty((B * beams, 0), dtype=np.int64)
    finished = [[] for _ in range(B)]  # (score, text)
    tokens = start[rows]
    for _ in range(max_tokens):
        log_p = _log_softmax(to_device(step(tokens), "cpu").astype(np.float64))
        V = log_p.shape[-1]
        total = (score[:, None] + log_p).reshape(B, beams * V)
        # Twice as many as beams: even if every other one ends here, enough go on.
        best = np.argsort(-total, axis=-1, kind="stable")[:, : 2 * beams]
        keep, chosen, kept_score = [], [], []
        for b in range(B):
            going = 0
            for place, candidate in enumerate(best[b]):
                row, token, s = b * beams + candidate // V, candidate % V, total[b, candidate]
                if token == end:
                    if place < beams and np.isfinite(s):
                        text = np.append(texts[row], end)
                        finished[b].append((s / len(text) ** length_penalty, text))
                elif going < beams:
                    keep.append(row), chosen.append(token), kept_score.append(s)
                    going += 1
        texts = np.concatenate([texts[keep], np.array(chosen)[:, None]], axis=1)
        score, tokens = np.array(kept_score), np.array(chosen)[:, None]
        if select is not None:
            select(np.array(keep))
        # A running text can only lose likelihood; at best it loses none more, and is as long as the penalty likes it.
        longest = max_tokens if length_penalty > 0 else texts.shape[1] + 1
        within_reach = score[::beams] / longest**length_penalty
        if all(finished[b] and _best(finished[b])[0] >= within_reach[b] for b in range(B)):
            break
    for b in range(B):  # where nothing came to an end, the best beginning
        if not finished[b]:
            finished[b] = [(score[b * beams], texts[b * beams])]
    return [_best(finished[b])[1] for b in range(B)]


def _best(finished):
    return max(finished, key=lambda pair: pair[0])
