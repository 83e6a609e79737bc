r"""CoCa: Contrastive Captioners are Image-Text Foundation Models.   arXiv 2205.01917
Yu, Wang, Vasudevan, Yeung, Seyedhosseini, Wu. 2022.

One text decoder is cut in half. Its lower half reads the words alone, and a token behind them, [CLS], is compared with
the image (contrastive loss). Its upper half looks at the image, and predicts the next word (captioning loss). Both
halves are causal, so one forward pass gives both losses.

      image                      <start>  red   circle  <end>  [CLS]
        |                           |      |      |       |      |
      [ ViT ]                     [ unimodal half, causal              ]
        | N patches                 |      |      |       |      |
      [ pooler, 256 queries ]-->  [ multimodal half, causal      ]   [CLS] goes no further:
        | memory                  [ + cross-attention to memory  ]   its output is the text embedding
      [ pooler, 1 query ]           |      |      |                  |
        |                          red   circle <end>                |
        |                           captioning loss                  |
      image embedding  <-------------- contrastive loss -------------+

  paper               here
  n_uni, n_multi      Config.unimodal_layers, Config.multimodal_layers
  n_query             Config.caption_queries; the contrastive pooler has one
  λ_Con, λ_Cap        Config.contrastive_weight, Config.caption_weight
  σ                   exp(-log_scale): the logarithm of 1/σ is what is learned, σ itself starts at 0.07
  cascade, parallel   Config.pooler: the contrastive pooler looks at the caption pooler's answers, or at the patches

  where we differ     what we do, and why
  eq. 2               the mean of both directions, as in CLIP; the paper prints their sum. λ_Con = 2 gives the paper's
  eq. 3               the mean over a batch's words, not their sum over a text: the step does not grow with the length
  tokens              byte-level BPE of our own; the paper has a sentencepiece vocabulary of 64k
  normalisation       the paper does not say where; ours is before each layer, around the poolers, of [CLS] after
                      the lower half and of the words after the upper
"""

from dataclasses import dataclass

import numpy as np

from .. import generate, masks, nn, ops
from ..data.image import Preprocess
from ..losses import captioning_loss, contrastive_loss
from ..tensor import no_grad


@dataclass
class Config:
    image_size: int = 32
    patch: int = 8
    vocabulary: int = 512
    context: int = 32  # T, start and end token included; [CLS] comes on top
    width: int = 96  # C, of both towers
    heads: int = 4
    image_layers: int = 2
    image_hidden: int = 384
    unimodal_layers: int = 1  # n_uni
    multimodal_layers: int = 2  # n_multi
    text_hidden: int = 384
    caption_queries: int = 16  # n_query; 0: no caption pooler, the decoder looks at the patches
    pooler: str = "cascade"  # or "parallel", which the paper compares
    contrastive_weight: float = 1.0  # λ_Con, sec. 4.1
    caption_weight: float = 2.0  # λ_Cap
    dropout: float = 0.0
    label_smoothing: float = 0.0  # of the captioning loss
    checkpointed: bool = False  # see nn.Transformer
    pad_token: int = 0
    start_token: int = 1
    end_token: int = 2
    centred: bool = False  # take each picture's own mean out: for drawings, whose paper is all white
    image_mean: tuple = (0.5, 0.5, 0.5)
    image_std: tuple = (0.5, 0.5, 0.5)

    @classmethod
    def tiny(cls, **changes):
        """Trains on two cores in two minutes. The MLPs are four times as wide as whatever width is asked for."""
        hidden = 4 * changes.get("width", cls.width)
        return cls(**{"image_hidden": hidden, "text_hidden": hidden, **changes})

    @classmethod
    def drawings(cls, **changes):
        """For a thousand small drawings on white paper (emoji): large patches, few layers, short captions."""
        return cls.tiny(**{**_DRAWINGS, **changes})

    @classmethod
    def base(cls, **changes):
        """Table 1. Sizes of pictures, patches and vocabulary: sec. 4.1."""
        return cls(**{**_PAPER, **changes})

    @classmethod
    def large(cls, **changes):
        """Table 1."""
        sizes = dict(width=1024, heads=16, image_layers=24, image_hidden=4096, text_hidden=4096)
        return cls(**{**_PAPER, **sizes, **changes})

    @classmethod
    def giant(cls, **changes):
        """Table 1, the model called CoCa."""
        sizes = dict(width=1408, heads=16, image_layers=40, image_hidden=6144, text_hidden=5632)
        return cls(**{**_PAPER, **sizes, "unimodal_layers": 18, "multimodal_layers": 18, **changes})


_DRAWINGS = dict(
    patch=16, width=192, heads=6, image_layers=3, unimodal_layers=1, multimodal_layers=1, caption_queries=4,
    caption_weight=0.5, centred=True,
)  # fmt: skip
_PAPER = dict(
    image_size=288, patch=18, vocabulary=64000, context=64, width=768, heads=12, image_layers=12, image_hidden=3072,
    unimodal_layers=12, multimodal_layers=12, text_hidden=3072, caption_queries=256,
)  # fmt: skip


class CoCa(nn.Module):
    """model(batch) gives the losses; encode_image, encode_text, generate and zeroshot_classifier are its uses.

    random   a numpy.random.Generator that the weights are drawn from
    """

    def __init__(self, config, random):
        if config.pooler not in ("cascade", "parallel"):
            raise ValueError(f"Config.pooler is {config.pooler!r}, must be 'cascade' or 'parallel'")
        c, C, H = config, config.width, config.heads
        self.config, self.tokenizer = config, None  # the tokenizer of the run that trained it, see minivl.load
        options = dict(dropout=c.dropout, checkpointed=c.checkpointed)
        self.vit = nn.ViT(c.image_size, c.patch, c.image_layers, C, H, c.image_hidden, random, **options)
        self.caption_pooler = nn.AttentionalPooler(c.caption_queries, C, H, random) if c.caption_queries else None
        self.contrastive_pooler = nn.AttentionalPooler(1, C, H, random)

        self.tokens = nn.Embedding(c.vocabulary, C, random, std=0.5)
        self.position = nn.parameter(random, c.context + 1, C, std=0.2)
        self.cls = nn.parameter(random, 1, 1, C, std=0.02)
        self.unimodal = nn.Transformer(c.unimodal_layers, C, H, c.text_hidden, random, **options)
        self.multimodal = nn.Transformer(c.multimodal_layers, C, H, c.text_hidden, random, cross=True, **options)
        self.next_token = nn.Linear(C, c.vocabulary, random, bias=False)  # not tied to `tokens`: table 1 counts both
        self.log_scale = nn.constant_parameter(np.log(1 / 0.07))

    # ---- the two losses, sec. 3.2 ------------------------------------------------------------------------------------

    def forward(self, batch, random=None):
        """Both losses of a batch from one pass, with every intermediate that has a name in the paper.

        batch    image (B, 3, S, S)   text (B, T)   lengths (B,)   same (B, B), if there: see contrastive_loss
        random   a numpy.random.Generator: dropout is on; None: off
        """
        c = self.config
        image_tokens, memory, image_embedding = self.look(batch["image"], random)
        words, text_embedding = self.read(batch["text"], batch["lengths"], random)

        #: The multimodal half: words look at the picture | Y = \mathrm{Transformer}(W, M)
        T = words.shape[1]
        mask = masks.causal(T) & masks.padding(batch["lengths"], T)
        decoded = self.multimodal(words, mask=mask, memory=memory, random=random)

        #: Captioning: every word predicts the next | L_{Cap} = -\frac{1}{n}\sum_t \log P(y_t \mid y_{<t}, x)
        caption, logits = captioning_loss(
            decoded, self.next_token, batch["text"], batch["lengths"], c.label_smoothing
        )  # eq. (3)

        #: Contrast: image and text find each other | L_{Con} = \frac{1}{2}(L_{i2t} + L_{t2i})
        contrastive, similarity = contrastive_loss(
            image_embedding, text_embedding, self.log_scale, batch.get("same")
        )  # eq. (2)

        #: The sum of both | L = \lambda_{Con} L_{Con} + \lambda_{Cap} L_{Cap}
        loss = contrastive * c.contrastive_weight + caption * c.caption_weight  # eq. (4)
        return {
            "loss": loss,
            "contrastive_loss": contrastive,
            "caption_loss": caption,
            "image_tokens": image_tokens,
            "memory": memory,
            "image_embedding": image_embedding,
            "words": words,
            "text_embedding": text_embedding,
            "similarity": similarity,
            "decoded": decoded,
            "logits": logits,  # (n, V), of the n words that are followed by a word
        }

    def look(self, images, random=None):
        """images (B, 3, S, S) -> patches (B, N, C), memory for the decoder (B, Q, C), embedding (B, C) of length 1"""
        patches = self.patches(images, random)
        return patches, *self.pool(patches)

    def patches(self, images, random=None):
        """images (B, 3, S, S) -> what the ViT makes of their patches (B, N, C)"""
        if self.config.centred:
            images = images - images.mean(axis=(1, 2, 3), keepdims=True)
        return self.vit(images, random)

    def pool(self, patches):
        """patches (B, N, C), of one picture or of all frames of a clip -> memory (B, Q, C), embedding (B, C)"""
        #: The caption pooler puts many questions to the picture | M = \mathrm{Attend}(Q_{cap}, X)
        # minivl:exercise ex09.b points=2 "two poolers"
        # minivl:hint `self.caption_pooler(patches)` is the memory; where there is none, the patches are
        # minivl:hint in a cascade the contrastive pooler looks at the memory, else at the patches
        memory = patches if self.caption_pooler is None else self.caption_pooler(patches)
        #: The contrastive pooler puts one, to the caption pooler's answers (cascade) | x = \mathrm{Attend}(q_{con}, M)
        asked = memory if self.config.pooler == "cascade" else patches
        return memory, ops.normalize(self.contrastive_pooler(asked)[:, 0])
        # minivl:end

    def read(self, text, lengths, random=None):
        """text (B, T), lengths (B,) -> words (B, T, C) for the multimodal half, embedding (B, C) of length 1"""
        B, T = text.shape
        self._check_length(T)
        #: Words become vectors, with their place | w_t = E_{y_t} + e_t
        x = self.tokens(text) + self.position[:T]
        #: A learned [CLS] is appended: it sees every word but no pad, and no word sees it | [w_1 \ldots w_T, w_{cls}]
        # minivl:exercise ex09.c points=4 "the half that reads, with its class token"
        # minivl:hint `self.cls` stands behind every text, at the last of the positions; masks has its mask
        # minivl:hint `self.unimodal.stream(x, mask=..., random=random)`; [CLS] is normalised by `self.unimodal.norm`
        # minivl:hint return the words (B, T, C), and the text embedding (B, C) of length 1
        cls = ops.expand(self.cls + self.position[-1], shape=(B, 1, self.config.width))
        x = self.unimodal.stream(ops.cat([x, cls], axis=1), mask=masks.class_token_last(lengths, T), random=random)
        #: What [CLS] has read is the text embedding | y = w_{cls} / \lVert w_{cls} \rVert
        return x[:, :T], ops.normalize(self.unimodal.norm(x[:, T]))
        # minivl:end

    # ---- uses, sec. 3.3 and 4.2 --------------------------------------------------------------------------------------

    def preprocess(self, picture):
        """A PIL picture, a path or an array (H, W, 3) -> (3, S, S) float32, resized, cropped and normalised."""
        return Preprocess(self.config.image_size, self.config.image_mean, self.config.image_std)(picture)

    def tokenize(self, texts):
        """Strings -> text (B, T), lengths (B,), by the tokenizer that the model was trained with."""
        if self.tokenizer is None:
            raise ValueError("this model has no tokenizer: load a trained one with minivl.load, or set model.tokenizer")
        return self.tokenizer([texts] if isinstance(texts, str) else texts, self.config.context)

    def encode_image(self, images):
        """images (B, 3, S, S) -> (B, C) of length 1"""
        return self.look(images)[2]

    def encode_text(self, text, lengths=None):
        """text (B, T) with lengths (B,), or a list of strings -> (B, C) of length 1"""
        if lengths is None:
            text, lengths = self.tokenize(text)
        return self.read(text, lengths)[1]

    def encode_video(self, clips):
        """clips (B, 3, F, S, S) -> (B, C) of length 1: the mean of the frames' embeddings, sec. 4.2.2."""
        B, _, F, S, _ = clips.shape
        frames = self.encode_image(clips.transpose(0, 2, 1, 3, 4).reshape(B * F, 3, S, S))
        return ops.normalize(frames.reshape(B, F, -1).mean(axis=1))

    def video_tokens(self, clips):
        """clips (B, 3, F, S, S) -> the patches of all frames (B, F N, C), for a new pooler, sec. 3.3."""
        B, _, F, S, _ = clips.shape
        patches = self.patches(clips.transpose(0, 2, 1, 3, 4).reshape(B * F, 3, S, S))
        return patches.reshape(B, -1, self.config.width)

    def zeroshot_classifier(self, names, templates=("a photo of the {}.",)):
        """Class names -> (C, classes): the mean embedding of each name's prompts. `encode_image(x) @ it` scores x.

        Normalised twice, each prompt and then the mean, as in CLIP, arXiv 2103.00020, sec. 3.1.4.
        """
        with no_grad():
            prompts = self.encode_text([t.format(name) for name in names for t in templates])
            mean = prompts.reshape(len(names), len(templates), -1).mean(axis=1)
            return ops.normalize(mean).T

    def decode(self, text, memory, cache=None):
        """Logits (B, T, V) of what follows each of text (B, T), given memory (B, Q, C).

        cache    an nn.Cache: text goes on where the calls before ended, and only its new tokens are worked out
        """
        T, past = text.shape[1], 0 if cache is None else cache.length
        self._check_length(past + T)
        mask = masks.causal(T, past)
        x = self.tokens(text) + self.position[past : past + T]
        x = self.unimodal.stream(x, mask=mask, cache=cache)
        return self.next_token(self.multimodal(x, mask=mask, memory=memory, cache=cache))

    def generate(self, images, *, prompt=None, max_tokens=None, beams=1, **sampling):
        """Captions for images (B, 3, S, S): strings where the model has a tokenizer, otherwise arrays of tokens.

        prompt     tokens (t,) that every caption begins with, after the start token
        sampling   temperature, top_k, top_p, random, length_penalty: see minivl.generate.generate
        """
        c, cache = self.config, nn.Cache()
        begin = np.array([c.start_token, *(() if prompt is None else prompt)], dtype=np.int64)
        room = c.context - len(begin)
        if room < 1:
            raise ValueError(f"generate: prompt has {len(begin) - 1} tokens, must leave room for one in {c.context}")
        with no_grad():
            memory = self.look(images)[1]
            if beams > 1:
                memory = memory[np.repeat(np.arange(len(images)), beams)]
            texts = generate.generate(
                lambda tokens: self.decode(tokens, memory, cache).data[:, -1],
                np.tile(begin, (len(images), 1)),
                end=c.end_token,
                max_tokens=room if max_tokens is None else min(max_tokens, room),
                beams=beams,
                select=cache.select,
                **sampling,
            )
        texts = [np.concatenate([begin[1:], text]) for text in texts]
        return texts if self.tokenizer is None else [self.tokenizer.decode(text) for text in texts]

    def where_words_look(self, images, text, lengths):
        """How much each word of text (B, T), when its successor is predicted, looks at each patch: (B, T, N).

        A word looks at the caption pooler's answers, and these at the patches: the shares are multiplied, and averaged
        over heads and layers. Rows add up to 1; 1/N everywhere is looking nowhere in particular.
        """
        T = text.shape[1]
        mask = masks.causal(T) & masks.padding(lengths, T)
        with no_grad():
            patches, memory, _ = self.look(images)
            x, _ = self.read(text, lengths)
            looks = []
            for block in self.multimodal.blocks:
                asked = block.norm_cross(x + block.attend(block.norm1(x), mask=mask))
                looks.append(block.attend_memory.weights(asked, memory).mean(axis=1).numpy())
                x = block(x, mask, memory)
            looks = sum(looks) / len(looks)
            return (
                looks
                if self.caption_pooler is None
                else looks @ self.caption_pooler.weights(patches).mean(axis=1).numpy()
            )

    def frozen_features(self, images):
        """images (B, 3, S, S) -> the patches (B, N, C), for a new pooler, sec. 3.3: frozen-feature evaluation."""
        return self.patches(images)

    def decoder_features(self, batch):
        """What the multimodal half makes of image and text (B, T, C): sec. 3.3, for VQA, SNLI-VE and NLVR2."""
        T = batch["text"].shape[1]
        mask = masks.causal(T) & masks.padding(batch["lengths"], T)
        words, _ = self.read(batch["text"], batch["lengths"])
        return self.multimodal(words, mask=mask, memory=self.look(batch["image"])[1])

    def _check_length(self, T):
        if self.config.context < T:
            raise ValueError(f"text of {T} tokens, Config.context is {self.config.context}")


class PooledClassifier(nn.Module):
    """A new single-query pooler and a linear map: how CoCa's features, frozen or not, are put to a new use.   sec. 3.3

    On patches (frozen-feature evaluation) and on the patches of all frames (video); on the decoder's outputs: VQA with
    3,129 answers, co-trained with the captioning loss of "question answer", and SNLI-VE with three; NLVR2 pools the
    outputs of two image-text pairs one by one and puts them side by side (`pairs=2`).
    """

    def __init__(self, C, H, classes, random, pairs=1):
        self.pooler = nn.AttentionalPooler(1, C, H, random)
        self.classify = nn.Linear(pairs * C, classes, random)

    def forward(self, *features, lengths=None):
        """features (B, M, C), one for each pair; lengths: for each, how many of the M are no pads -> (B, classes)"""
        lengths = [None] * len(features) if lengths is None else lengths
        pooled = [
            self.pooler(x, None if n is None else masks.padding(n, x.shape[1]))[:, 0]
            for x, n in zip(features, lengths, strict=True)
        ]
        return self.classify(ops.cat(pooled, axis=1))


def label_prompt(labels, random):
    """Class labels as a caption, sec. 4.1: shuffled, joined and put in a prompt: "a photo of the cat, animal"."""
    return "a photo of the " + ", ".join(labels[i] for i in random.permutation(len(labels)))
