r"""CoCa as open_clip built and trained it.   https://github.com/mlfoundations/open_clip, version 3.3.0

The published weights that are called CoCa (coca_ViT-B-32, coca_ViT-L-14, trained on LAION-2B) are of this model, which
is not quite the paper's (coca.py): different enough that no weights fit both, so it has a file of its own.

      image                       <start>  red   circle  <end>  [CLS]
        |                            |      |      |       |      |
      [ class token, ViT ]        [ unimodal half, causal             ]
        |                            |      |      |       |      |
      [ pooler, 256 queries ]     [ block  [ + look at memory, and another MLP ] ... ]   [ norm, linear ]
        |         |                  |      |      |                                        |
      query 0   the others: memory  red   circle <end>                                      |
      [ linear ]                     captioning loss                                        |
        |                                                                                   |
      image embedding  <------------------------- contrastive loss ------------------------+

  the paper, and coca.py                    open_clip, and this file
  no class token                            one, and a layer normalisation before the first block
  two poolers, cascaded                     "shared": query 0 of one pooler is the image embedding, the others are the
                                            memory; "cascade", "parallel": two, which no published weights have
  a norm behind each pooler                 behind the shared one; before the two
  embeddings as they are                    each through a linear map of its own
  a decoder layer has one MLP               two: one behind self-attention, one behind cross-attention
  [CLS] sees all words and no pad           Config.shifted_mask: it also sees the first pad, and not itself unless the
                                            text fills the context. A mistake that the published weights have learned
                                            with, so it is kept; False is the mask that was meant
  pads are told by lengths                  ... by their id, 0. In CLIP's vocabulary that is "!" too: nobody sees it
"""

from dataclasses import dataclass

import numpy as np

from .. import generate, masks, nn, ops
from ..array import array_module
from ..data.image import CLIP_MEAN, CLIP_STD, Preprocess
from ..losses import captioning_loss, contrastive_loss
from ..tensor import no_grad


@dataclass
class Config:
    image_size: int = 32
    patch: int = 8
    image_width: int = 96
    image_heads: int = 4
    image_layers: int = 2
    vocabulary: int = 512
    context: int = 32  # T, start and end token included; [CLS] comes on top
    width: int = 96  # C, of the text tower, of the decoder, and of the embeddings
    text_heads: int = 4
    unimodal_layers: int = 1
    multimodal_layers: int = 2
    caption_queries: int = 16  # of the pooler; where it is shared, the first is the image embedding's
    pooler: str = "shared"  # or "cascade", "parallel"
    pooler_heads: int = 4
    quick_gelu: bool = False
    shifted_mask: bool = True
    contrastive_weight: float = 1.0
    caption_weight: float = 2.0
    pad_token: int = 0
    start_token: int = 1
    end_token: int = 2
    centred: bool = False  # take each picture's own mean out: for drawings, whose paper is all white
    image_mean: tuple = CLIP_MEAN
    image_std: tuple = CLIP_STD

    @classmethod
    def tiny(cls, **changes):
        return cls(**changes)

    @classmethod
    def vit_b_32(cls, **changes):
        """open_clip's coca_ViT-B-32"""
        sizes = dict(patch=32, image_width=768, image_heads=12, image_layers=12, width=512, text_heads=8)
        return cls(**{**_PUBLISHED, **sizes, **changes})

    @classmethod
    def vit_l_14(cls, **changes):
        """open_clip's coca_ViT-L-14"""
        sizes = dict(patch=14, image_width=1024, image_heads=16, image_layers=24, width=768, text_heads=12)
        return cls(**{**_PUBLISHED, **sizes, **changes})


_PUBLISHED = dict(
    image_size=224, vocabulary=49408, context=76, unimodal_layers=12, multimodal_layers=12, caption_queries=256,
    pooler_heads=8, start_token=49406, end_token=49407,
)  # fmt: skip


class OpenCLIPCoCa(nn.Module):
    """model(batch) gives the losses; encode_image, encode_text, generate and zeroshot_classifier are its uses."""

    def __init__(self, config, random):
        if config.pooler not in ("shared", "cascade", "parallel"):
            raise ValueError(f"Config.pooler is {config.pooler!r}, must be 'shared', 'cascade' or 'parallel'")
        if config.pooler != "shared" and config.image_width != config.width:
            raise ValueError(f"Config.pooler {config.pooler!r} needs image_width = width, got {config.image_width}")
        c, C, shared = config, config.width, config.pooler == "shared"
        self.config, self.tokenizer = config, None  # the tokenizer of the run that trained it, see minivl.load
        options = dict(activation=ops.quick_gelu if c.quick_gelu else ops.gelu)
        image = c.image_size, c.patch, c.image_layers, c.image_width, c.image_heads, 4 * c.image_width
        self.vit = nn.ViT(*image, random, bias=False, class_token=True, pre_norm=True, **options)
        if shared:
            self.vit.transformer.norm = Unnormed()
        self.caption_pooler = Pooler(c.caption_queries, C, c.pooler_heads, c.image_width, random)
        self.contrastive_pooler = None if shared else Pooler(1, C, c.pooler_heads, C, random)
        self.pooled_norm = nn.LayerNorm(C) if shared else None
        self.image_projection = nn.Linear(C, C, random, bias=False)

        self.tokens = nn.Embedding(c.vocabulary, C, random)
        self.position = nn.parameter(random, c.context + 1, C, std=0.01)
        self.cls = nn.parameter(random, 1, 1, C, std=0.01)
        self.unimodal = nn.Transformer(c.unimodal_layers, C, c.text_heads, 4 * C, random, **options)
        self.text_projection = nn.Linear(C, C, random, bias=False)
        self.multimodal = nn.Transformer(c.multimodal_layers, C, c.text_heads, 4 * C, random, **options)
        self.crossing = [CrossBlock(C, c.text_heads, 4 * C, random, **options) for _ in range(c.multimodal_layers)]
        self.next_token = nn.Linear(C, c.vocabulary, random, bias=False)
        self.log_scale = nn.constant_parameter(np.log(1 / 0.07))

    def forward(self, batch, random=None):
        """Both losses of a batch, and the intermediates. `random` is for dropout, of which there is none.

        batch    image (B, 3, S, S)   text (B, T)   lengths (B,)   same (B, B), if there: see contrastive_loss
        """
        c, T = self.config, batch["text"].shape[1]
        memory, image_embedding = self.look(batch["image"])
        words, text_embedding = self.read(batch["text"])
        decoded = self.multimodal.norm(self.cross(words, memory, masks.causal(T)))
        caption, logits = captioning_loss(decoded, self.next_token, batch["text"], batch["lengths"])
        contrastive, similarity = contrastive_loss(image_embedding, text_embedding, self.log_scale, batch.get("same"))
        return {
            "loss": contrastive * c.contrastive_weight + caption * c.caption_weight,
            "contrastive_loss": contrastive,
            "caption_loss": caption,
            "memory": memory,
            "image_embedding": image_embedding,
            "words": words,
            "text_embedding": text_embedding,
            "similarity": similarity,
            "decoded": decoded,
            "logits": logits,  # (n, V), of the n words that are followed by a word
        }

    def look(self, images):
        """images (B, 3, S, S) -> memory for the decoder (B, M, C), embedding (B, C) of length 1"""
        patches = self.patches(images)
        pooled = self.caption_pooler(patches)
        if self.config.pooler == "shared":
            pooled = self.pooled_norm(pooled)
            first, memory = pooled[:, 0], pooled[:, 1:]
        else:
            memory = pooled
            first = self.contrastive_pooler(memory if self.config.pooler == "cascade" else patches)[:, 0]
        return memory, ops.normalize(self.image_projection(first))

    def patches(self, images):
        """images (B, 3, S, S) -> class token and patches (B, 1 + N, image_width), normed unless the pooler is shared"""
        if self.config.centred:
            images = images - images.mean(axis=(1, 2, 3), keepdims=True)
        return self.vit(images)

    def read(self, text):
        """text (B, T) -> words (B, T, C) for the multimodal half, embedding (B, C) of length 1

        The context is always filled up: [CLS] has its last place, and with the shifted mask it sees one of the pads.
        """
        B, T = text.shape
        c, context = self.config, self.config.context
        self._check_length(T)
        xp = array_module(text)
        text = xp.pad(text, ((0, 0), (0, context - T)), constant_values=c.pad_token)
        cls = ops.expand(self.cls, shape=(B, 1, c.width))
        x = ops.cat([self.tokens(text), cls], axis=1) + self.position
        word, always = text != c.pad_token, xp.ones((B, 1), bool)
        seen = xp.concatenate([always, word] if c.shifted_mask else [word, always], axis=1)
        mask = xp.asarray(masks.causal(context + 1)) & seen[:, None, None, :]
        x = self.unimodal.stream(x, mask=mask)
        return x[:, :T], ops.normalize(self.text_projection(self.unimodal.norm(x[:, context])))

    def cross(self, x, memory, mask, cache=None):
        """words (B, T, C), memory (B, M, C) -> (B, T, C), not yet normalised"""
        for block, crossing in zip(self.multimodal.blocks, self.crossing, strict=True):
            x = crossing(block(x, mask=mask, cache=cache), memory, cache)
        return x

    # ---- uses --------------------------------------------------------------------------------------------------------

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
        return self.look(images)[1]

    def encode_text(self, text, lengths=None):
        """text (B, T), or a list of strings -> (B, C) of length 1; pads are told by their id, not by `lengths`"""
        if lengths is None:
            text, _ = self.tokenize(text)
        return self.read(text)[1]

    def zeroshot_classifier(self, names, templates=("a photo of the {}.",)):
        """Class names -> (C, classes): the mean embedding of each name's prompts. `encode_image(x) @ it` scores x."""
        with no_grad():
            prompts = self.encode_text([t.format(name) for name in names for t in templates])
            mean = prompts.reshape(len(names), len(templates), -1).mean(axis=1)
            return ops.normalize(mean).T

    def decode(self, text, memory, cache=None):
        """Logits (B, T, V) of what follows each of text (B, T), given memory (B, M, C).

        cache    an nn.Cache: text goes on where the calls before ended, and only its new tokens are worked out
        """
        T, past = text.shape[1], 0 if cache is None else cache.length
        self._check_length(past + T)
        mask = masks.causal(T, past)
        x = self.unimodal.stream(self.tokens(text) + self.position[past : past + T], mask=mask, cache=cache)
        return self.next_token(self.multimodal.norm(self.cross(x, memory, mask, cache)))

    def generate(self, images, *, max_tokens=None, beams=1, **sampling):
        """Captions for images (B, 3, S, S): strings where the model has a tokenizer, otherwise arrays of tokens.

        sampling   temperature, top_k, top_p, random, length_penalty: see minivl.generate.generate
        """
        c, cache = self.config, nn.Cache()
        room = c.context - 1
        with no_grad():
            memory = self.look(images)[0]
            if beams > 1:
                memory = memory[np.repeat(np.arange(len(images)), beams)]
            texts = generate.generate(
                lambda tokens: self.decode(tokens, memory, cache).data[:, -1],
                np.full((len(images), 1), c.start_token, np.int64),
                end=c.end_token,
                max_tokens=room if max_tokens is None else min(max_tokens, room),
                beams=beams,
                select=cache.select,
                **sampling,
            )
        return texts if self.tokenizer is None else [self.tokenizer.decode(text) for text in texts]

    def _check_length(self, T):
        if self.config.context < T:
            raise ValueError(f"text of {T} tokens, Config.context is {self.config.context}")


class Unnormed(nn.Module):
    """In the place of a norm: what the blocks made, as it is."""

    def forward(self, x):
        return x


class Pooler(nn.Module):
    """Q learned queries, put to a memory of another width.   memory (B, M, memory_width) -> (B, Q, C)

    nn.AttentionalPooler has a norm behind it; this one has none.
    """

    def __init__(self, queries, C, H, memory_width, random):
        self.queries = nn.parameter(random, queries, C, std=1)
        self.norm_queries, self.norm_memory = nn.LayerNorm(C), nn.LayerNorm(memory_width)
        self.attend = nn.MultiHeadAttention(C, H, random, memory_width=memory_width)

    def forward(self, memory):
        questions = ops.expand(self.norm_queries(self.queries), shape=(len(memory), *self.queries.shape))
        return self.attend(questions, memory=self.norm_memory(memory))


class CrossBlock(nn.Module):
    """Cross-attention and an MLP of its own; both sides are normed.   x (B, T, C), memory (B, M, C) -> (B, T, C)"""

    def __init__(self, C, H, hidden, random, activation):
        self.norm1, self.norm_memory = nn.LayerNorm(C), nn.LayerNorm(C)
        self.attend = nn.MultiHeadAttention(C, H, random)
        self.norm2, self.mlp = nn.LayerNorm(C), nn.MLP(C, hidden, random, activation=activation)

    def forward(self, x, memory, cache=None):
        x = x + self.attend(self.norm1(x), memory=self.norm_memory(memory), cache=cache)
        return x + self.mlp(self.norm2(x))
