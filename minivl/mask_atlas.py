"""The atlas of masks: who may look at whom in eleven papers, side by side, and a proof of each by gradients.

A plate is one part of one model, as small as it can be drawn: a letter for each token that asks (rows) and for each
that is asked (columns), the mask made with masks.py, why it is so, and from where we know it. What stands in models/ is
held to its plate by the tests. Of what is not built yet, a plate says whether code was read or only descriptions.
"""

from dataclasses import dataclass

import numpy as np

from . import masks, ops
from .tensor import Tensor

LETTERS = {
    "P": "a patch of a picture",
    "a": "a patch of a clip; one letter for one place in all frames",
    "b": "another place",
    "I": "the picture as a whole",
    "R": "a region that a detector found",
    "Q": "a learned query of a pooler",
    "C": "a class token",
    "w": "a word",
    "E": "the end of a text",
    "_": "a pad",
    "M": "a mask token; in FLAVA's last row, the class token of both",
    "t": "a word to be written",
    "i": "a code of a picture",
    "o": "a code or word of the answer to it",
    "c": "a token that is in the cache",
}
PAPERS = {  # arXiv id, in the order of this atlas
    "CLIP": "2103.00020",
    "CoCa": "2205.01917",
    "MaMMUT": "2303.16839",
    "OmniVL": "2209.07526",
    "ERNIE-ViL": "2006.16934",
    "M6": "2103.00823",
    "FLAVA": "2112.04482",
    "OFA": "2202.03052",
    "BEiT-3": "2208.10442",
    "PaLI": "2209.06794",
    "Unified in-context decoder": "2312.02520",
}


@dataclass(frozen=True)
class Plate:
    """One mask of one paper: (queries, keys), with a letter for each."""

    paper: str
    part: str
    rows: str
    columns: str
    mask: np.ndarray
    why: str
    known: str  # a file of models/, or where else we have it from


CODE = "the authors' code"
TIME = "descriptions of the paper and TimeSformer's code, whose layers it takes; its own was not published"
FLAVA = "FLAVA in Hugging Face's transformers"
TOLD = "descriptions of the paper, to be checked in it when the model is built"

N, T, words = 4, 5, 3  # patches of a picture; tokens of a text; how many of them are words, the others pads
pads = masks.padding([words], T)[0, 0]  # (1, T): which of the keys are words
BUILT = (
    Plate(
        "CLIP", "picture", "CPPPP", "CPPPP", masks.bidirectional(1 + N),
        "A picture is there all at once: each patch sees all, and so does the class token that speaks for them.",
        "models/clip.py",
    ),
    Plate(
        "CLIP", "text", "wwE__", "wwE__", masks.causal(T),
        "Causal although it never writes. The text is read off at its end E, which pads come behind: it sees none.",
        "models/clip.py",
    ),
    Plate(
        "CoCa", "poolers", "QQQ", "PPPP", masks.bidirectional(3, N),
        "Learned queries look at all of a picture: one of them for contrast, many for the words of the decoder.",
        "models/coca.py",
    ),
    Plate(
        "CoCa", "text, lower half", "www__C", "www__C", masks.class_token_last([words], T)[0, 0],
        "One pass for two losses: the class token stands last and sees the words, none sees it, so it can be cut off.",
        "models/coca.py",
    ),
    Plate(
        "CoCa", "text, upper half", "www__", "www__", masks.causal(T) & pads,
        "A word knows nothing of those that follow, for it has to predict them.",
        "models/coca.py",
    ),
    Plate(
        "CoCa", "text at picture", "www__", "QQQ", masks.bidirectional(T, 3),
        "Each word sees all that the poolers found, and never a bare patch.",
        "models/coca.py",
    ),
    Plate(
        "MaMMUT", "pass A: compare", "www__", "www__", masks.bidirectional(T) & pads,
        "A text read whole, and without the picture: its cross-attention is left out.",
        "models/mammut.py",
    ),
    Plate(
        "MaMMUT", "pass B: write", "www__", "www__", masks.causal(T),
        "The same weights once more. Pads stand behind all words, so causal is enough: no word sees one.",
        "models/mammut.py",
    ),
    Plate(
        "MaMMUT", "pass B at picture", "www__", "PPPP", masks.bidirectional(T, N),
        "No pooler between: words look at the patches themselves.",
        "models/mammut.py",
    ),
)  # fmt: skip

TO_COME = (
    Plate(
        "OmniVL", "clip, in time", "ababab", "ababab", masks.same_place(3, 2),
        "First each place by itself, through all frames: far cheaper than all with all. Pictures skip this layer.",
        TIME,
    ),
    Plate(
        "OmniVL", "clip, in space", "CabCab", "CabCab", masks.block(3, 3),
        "Then each frame by itself, with a copy of the class token. The two in turn reach everything.",
        TIME,
    ),
    Plate(
        "OmniVL", "alignment", "Cwww_", "Cwww_", masks.bidirectional(T) & masks.padding([4], T)[0, 0],
        "Does the text fit the clip? For that it may be read whole; in a layer between, it looks at all patches.",
        TOLD,
    ),
    Plate(
        "OmniVL", "generation", "tttt_", "tttt_", masks.causal(T),
        "A second decoder writes, so it is causal. It, too, looks at all patches in a layer between.",
        TOLD,
    ),
    Plate(
        "ERNIE-ViL", "text", "www__", "www__", pads & pads.T,
        "Both sides of a pair must be words, so pads ask nothing either. (With -10000 for minus infinity, as there, a "
        "pad sees all alike; here it gets 0. Nobody reads it.)",
        CODE,
    ),
    Plate(
        "ERNIE-ViL", "regions", "IRR_", "IRR_", masks.padding([3], 4)[0, 0] & masks.padding([3], 4)[0, 0].T,
        "Pictures have pads too: a detector finds more things in one than in another.",
        CODE,
    ),
    Plate(
        "ERNIE-ViL", "text at regions", "www__", "IRR_", pads.T & masks.padding([3], 4)[0, 0],
        "Co-attention: two streams, each asking the other.",
        CODE,
    ),
    Plate(
        "ERNIE-ViL", "regions at text", "IRR_", "www__", masks.padding([3], 4)[0, 0].T & pads,
        "The same table, turned over. Both directions start from what stood before the layer.",
        CODE,
    ),
    Plate(
        "M6", "text to text", "wwwttt", "wwwttt", masks.prefix(3, 3),
        "One stack is encoder and decoder at once: the source sees itself whole and never the target.",
        TOLD,
    ),
    Plate(
        "M6", "picture to text", "PPPPttt", "PPPPttt", masks.prefix(N, 3),
        "The task is changed by what stands in the source, and by nothing else in the model.",
        TOLD,
    ),
    Plate(
        "M6", "both to text", "PPPPwwtt", "PPPPwwtt", masks.prefix(N + 2, 2),
        "Picture and words see each other from the first layer on; there is no cross-attention.",
        TOLD,
    ),
    Plate(
        "FLAVA", "picture", "CPMMP", "CPMMP", masks.bidirectional(1 + N),
        "To hide a patch is not a matter of masks of attention: another vector stands in its place, and all see it.",
        FLAVA,
    ),
    Plate(
        "FLAVA", "text", "CwM__", "CwM__", masks.bidirectional(T) & pads,
        "The same for a hidden word. Only pads are kept from being seen.",
        FLAVA,
    ),
    Plate(
        "FLAVA", "both together", "MCPPPPCww_", "MCPPPPCww_", masks.bidirectional(10) & masks.padding([9], 10)[0, 0],
        "A joint class token, then all that both encoders made, in one row: plain self-attention without the pads.",
        FLAVA,
    ),
    Plate(
        "OFA", "encoder", "PPPPwww_", "PPPPwww_", masks.bidirectional(8) & masks.padding([7], 8)[0, 0],
        "Picture first, then the task in words. Where a token stands is a bias of the scores, and a bias forbids none.",
        CODE,
    ),
    Plate(
        "OFA", "decoder", "tttt", "tttt", masks.causal(4),
        "Words, corners of boxes and codes of pictures are one vocabulary, written one by one.",
        CODE,
    ),
    Plate(
        "OFA", "decoder at encoder", "tttt", "PPPPwww_", masks.bidirectional(4, 8) & masks.padding([7], 8)[0, 0],
        "What is written may look at all of the source but its pads.",
        CODE,
    ),
    Plate(
        "BEiT-3", "guess what is hidden", "CPMMPCwMw_", "CPMMPCwMw_",
        masks.bidirectional(10) & masks.padding([9], 10)[0, 0],
        "One loss for pictures, texts and pairs. Which expert works on a token, vision or language, is no mask.",
        CODE,
    ),
    Plate(
        "BEiT-3", "two encoders", "CPPPPCww", "CPPPPCww", masks.block(1 + N, 3),
        "For retrieval the same weights run on each by itself: drawn as one row, that is a mask of blocks.",
        CODE,
    ),
    Plate(
        "BEiT-3", "caption", "CPPPPwww", "CPPPPwww", masks.prefix(1 + N, 3),
        "The picture sees itself, words see it and their own past: a prefix.",
        CODE,
    ),
    Plate(
        "PaLI", "encoder", "PPPPwww_", "PPPPwww_", masks.bidirectional(8) & masks.padding([7], 8)[0, 0],
        "Patches stand before the words of the task, as if they were words.",
        TOLD,
    ),
    Plate(
        "PaLI", "decoder", "tttt", "tttt", masks.causal(4),
        "A text model of the usual kind: one that can read pictures needs no other decoder.",
        TOLD,
    ),
    Plate(
        "PaLI", "decoder at encoder", "tttt", "PPPPwww_", masks.bidirectional(4, 8) & masks.padding([7], 8)[0, 0],
        "The only way for what was seen into what is said.",
        TOLD,
    ),
    Plate(
        "Unified in-context decoder", "prompt", "iioiioiio", "iioiioiio", masks.causal(9),
        "Pictures as codes, each with its answer, then one without: causal from end to end, pictures too. "
        "Experts are chosen for a token, not between tokens: that is no mask.",
        TOLD,
    ),
    Plate(
        "Unified in-context decoder", "by a cache", "oo", "ccccccoo", masks.causal(2, past=6),
        "The last rows of the same table: keys of the prompt are kept, and only what is new asks.",
        TOLD,
    ),
)  # fmt: skip

PLATES = BUILT + TO_COME


def reach(mask, D=8, seed=0):
    """How far the output of query i moves with key and value j: (queries, keys), exactly 0 where it cannot.

    Every query runs in an example of its own, which has its own copy of what is asked; so one backward pass gives all
    rows. The question itself does not count: a token always knows what it asks.
    """
    random, (queries, keys) = np.random.default_rng(seed), mask.shape
    q = Tensor(random.standard_normal((queries, 1, queries, D)))
    asked = np.broadcast_to(random.standard_normal((1, 1, keys, D)), (queries, 1, keys, D))
    memory = Tensor(asked.copy(), requires_grad=True)
    out = ops.attention(q, memory, memory, mask=mask)
    own = np.arange(queries)
    (out[own, 0, own] * random.standard_normal((queries, D))).sum().backward()  # any direction does: we ask what is 0
    return np.sqrt((memory.grad[:, 0] ** 2).sum(-1))
