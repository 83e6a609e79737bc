r"""MaMMUT: A Simple Architecture for Joint Learning for MultiModal Tasks.   arXiv 2303.16839
Kuo, Piergiovanni, Kim, Luo, Caine, Li, Ogale, Zhou, Dai, Chen, Cui, Angelova. 2023.

One text decoder, all of whose weights are used twice. Contrast wants a text read whole, without the picture; captioning
wants a text that knows nothing of what follows, and the picture. So the decoder runs once with each word seeing all the
others and its cross-attention skipped, and once causally with cross-attention; the gradients of both passes add up.

           image or clip                  pass A: compare                  pass B: write
                |                     <start> red circle <end>         <start>  red  circle
         patches, or tubes               |     |    |      |              |      |     |
            [ ViT ], once             [ block, everybody sees  ]       [ the same block, causal ]
         [ linear: to the             [      everybody         ]       [ cross block, memory    ]
           decoder's width ]          [           ...          ]       [          ...           ]
            |         |                  |     |    |      |              |      |     |
          mean     memory                      mean                      red  circle  <end>
            |                                   |                         captioning loss
       image embedding <-- focal loss --> text embedding

There is no pooler and no projection head: both embeddings are means of the features themselves. A clip goes through the
same ViT once, as sparse patches and tubes, and not frame by frame.

  paper               here
  v_i, l_i            image_embedding, text_embedding, of length 1
  N, M                Config.layers of the decoder, Config.cross_layers; a cross block stands behind each N/M-th block
  tau                 exp(-log_scale): the logarithm of 1/tau is learned; tau itself starts at 1, in small presets
                      at 0.1, for a thousand steps are too few to come down from there
  gamma               Config.gamma of the focal loss; the paper gives none, 1 is that of the authors' RO-ViT
  weighted connection video.gate: a sigmoid of it weighs a token's fixed place against its learned one

  where we differ     what we do, and why
  focal loss          judges every pair by itself, so that L_I2T = L_T2I; their sum, as printed, is twice either.
                      Config.contrast = "softmax" is InfoNCE beside it (the mean of both directions, as in CLIP)
  captioning loss     the mean over a batch's words: the step does not grow with the length
  pads                nobody sees them and no mean counts them. Config.mask_pads = False is what open implementations
                      do: texts filled up to the context are then read and averaged pads and all
  tokens              byte-level BPE of our own; the paper has sentencepiece. Words in and words out are not tied
  normalisation       the paper does not say where; before each layer, of the memory too, and after ViT and decoder
  gate                the paper gives no equation: sigmoid(gate) fixed + (1 - sigmoid(gate)) learned
  tubes               each shape has a kernel of its own; the sizes are those of TubeViT (arXiv 2212.03229)
  detection           is to come: `feature_map` is what its heads will stand on, Config.crop_positions its pretraining
"""

from dataclasses import dataclass

import numpy as np

from .. import generate, masks, nn, ops
from ..array import device_of, to_device
from ..data.image import Preprocess
from ..losses import captioning_loss, contrastive_loss, focal_loss
from ..tensor import Tensor, checkpoint, no_grad

# "frames x rows x columns / stride @ offset" of each shape, for clips of 32 x 224 x 224: TubeViT's.
PUBLISHED_TUBES = "8x8x8/16x32x32@0x0x0 12x4x4/6x32x32@4x8x8 4x12x12/16x32x32@0x16x16"
SMALL_TUBES = "8x4x4/8x6x6@0x1x1 4x8x8/16x8x8@6x0x0"  # for 16 x 32 x 32


@dataclass
class Config:
    image_size: int = 32
    patch: int = 8
    image_width: int = 96
    image_heads: int = 4
    image_layers: int = 2
    image_hidden: int = 384
    vocabulary: int = 512
    context: int = 32  # T, start and end token included
    width: int = 96  # C, of the decoder
    heads: int = 4
    layers: int = 4  # N
    cross_layers: int = 2  # M; must divide N
    hidden: int = 384  # of the decoder's MLPs and of the cross blocks'
    contrast: str = "focal"  # or "softmax"
    gamma: float = 1.0
    temperature: float = 1.0  # tau at the start
    contrast_pass: str = "bidirectional"  # or "causal", which the paper compares
    mask_pads: bool = True
    contrastive_weight: float = 1.0  # of weight 0, a loss and its pass are left out
    caption_weight: float = 1.0
    crop_positions: float = 0.0  # last share of the training that sees the positions of a cropped picture; paper: 0.2
    frames: int = 1  # F, of clips; 1: pictures only, and of a clip its middle frame
    frame_stride: int = 8  # frames from one layer of patches to the next
    tubes: str = SMALL_TUBES  # beside the patches; "": none
    fixed_position: bool = True  # of the tokens of a clip, beside the learned one
    gated: bool = True  # False: both are simply added
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
        """Trains on two cores in two minutes. Both towers are as wide as `width`, their MLPs four times."""
        width = changes.get("width", cls.width)
        sizes = dict(image_width=width, image_hidden=4 * width, hidden=4 * width)
        return cls(**{**sizes, "temperature": 0.1, **changes})

    @classmethod
    def moving(cls, **changes):
        """For clips of 16 small frames, see minivl.data.moving. Their paper is taken out, for it tells no motion."""
        return cls.tiny(**{"frames": 16, "centred": True, **changes})

    @classmethod
    def drawings(cls, **changes):
        """For a thousand small drawings on white paper (emoji): large patches, few layers, short captions."""
        sizes = dict(patch=16, width=192, image_heads=6, heads=6, image_layers=3, layers=2, cross_layers=1)
        return cls.tiny(**{**sizes, "contrast": "softmax", "caption_weight": 0.5, "centred": True, **changes})

    @classmethod
    def base(cls, **changes):
        """The size of the paper's ablations: ViT-B (86M) and a decoder of 128M, 100.7M without its vocabulary."""
        return cls(**{**_PAPER, **_VIT_B, "width": 1024, "heads": 16, "layers": 8, "hidden": 4096, **changes})

    @classmethod
    def huge(cls, **changes):
        """The model called MaMMUT, 2B: ViT-H (650M), a decoder of 1B (849M without vocabulary), 420M to cross over."""
        sizes = dict(width=1536, heads=24, layers=18, cross_layers=9, hidden=12288)
        return cls(**{**_PAPER, **_VIT_H, **sizes, **changes})


# The paper trains with AdamW of weight decay 0.01, a learning rate of 1e-3 that rises for 10,000 steps and then falls
# in a line to 0 (--set schedule=linear), 500,000 steps of 16,384 pairs; pictures are resized to 272 and cropped to 224.
# It does not tell the number of heads; ours are 64 wide. The vocabulary of 256,000 is that of its question answering.
_PAPER = dict(
    image_size=224, vocabulary=256_000, context=64, cross_layers=4, crop_positions=0.2, frame_stride=16,
    tubes=PUBLISHED_TUBES,
)  # fmt: skip
_VIT_B = dict(patch=16, image_width=768, image_heads=12, image_layers=12, image_hidden=3072)
_VIT_H = dict(patch=14, image_width=1280, image_heads=16, image_layers=32, image_hidden=5120)


class MaMMUT(nn.Module):
    """model(batch) gives the losses; encode_image, encode_text, generate, answer and zeroshot_classifier are its uses.

    random   a numpy.random.Generator that the weights are drawn from
    """

    def __init__(self, config, random):
        c, C = config, config.width
        _check(c)
        self.config, self.tokenizer = config, None  # the tokenizer of the run that trained it, see minivl.load
        options = dict(dropout=c.dropout, checkpointed=c.checkpointed)
        sizes = c.image_layers, c.image_width, c.image_heads, c.image_hidden
        self.vit = nn.ViT(c.image_size, c.patch, *sizes, random, **options)
        self.video = Tubes(c, random) if c.frames > 1 else None
        self.to_decoder = nn.Linear(c.image_width, C, random)
        self.tokens = nn.Embedding(c.vocabulary, C, random, std=0.5)
        self.position = nn.parameter(random, c.context, C, std=0.2)
        self.decoder = Decoder(c.layers, c.cross_layers, C, c.heads, c.hidden, random, **options)
        self.next_token = nn.Linear(C, c.vocabulary, random, bias=False)
        self.log_scale = nn.constant_parameter(-np.log(c.temperature))
        self.cropping = False  # see before_step

    # ---- two passes, two losses --------------------------------------------------------------------------------------

    def forward(self, batch, random=None):
        """Both losses of a batch, with every intermediate that has a name in the paper.

        batch    image (B, 3, S, S) or (B, 3, F, S, S)   text (B, T)   lengths (B,)   same: see contrastive_loss
                 given (B,), of texts that are a question and its answer: the tokens before the answer. They are not
                 predicted, and such texts are not compared with pictures
                 asked_of (R,), where the texts are R questions: the r-th of them is about image asked_of[r]
        random   a numpy.random.Generator: dropout and cropped positions are on; None: off
        """
        c, text, lengths, given = self.config, batch["text"], batch["lengths"], batch.get("given")
        patches, memory, image_embedding = self.look(batch["image"], random)
        out = {"patches": patches, "memory": memory, "image_embedding": image_embedding}
        losses = []
        if c.contrastive_weight and given is None:
            #: Pass A compares: the text read whole, without the picture | l = \mathrm{mean}(D(Y)) / \lVert \cdot \rVert
            out["words"], out["text_embedding"] = self.read(text, lengths, random)
            compare = contrastive_loss if c.contrast == "softmax" else focal_loss
            options = {} if c.contrast == "softmax" else {"gamma": c.gamma}
            #: Each pair by itself, the hard ones most | L_{foc} = -\frac{2}{B}\sum_{ij}(1 - p_{ij})^\gamma \log p_{ij}
            out["contrastive_loss"], out["similarity"] = compare(
                image_embedding, out["text_embedding"], self.log_scale, batch.get("same"), **options
            )
            losses.append(out["contrastive_loss"] * c.contrastive_weight)
        if c.caption_weight:
            #: Pass B writes: the same weights, causal, with the picture | P(y_t \mid y_{<t}, x) = D(y_{<t}, V)
            mask = masks.causal(text.shape[1])  # pads stand behind all words: no word sees one
            if "asked_of" in batch:  # looked at once, however many questions
                memory = memory[batch["asked_of"]]
            out["decoded"] = self.decoder(self.embed(text), mask, memory, random=random)
            #: Every word predicts the next | L_{cap} = -\frac{1}{n}\sum_t \log P(y_t \mid y_{<t}, x)
            out["caption_loss"], out["logits"] = captioning_loss(
                out["decoded"], self.next_token, text, lengths, c.label_smoothing, given
            )
            losses.append(out["caption_loss"] * c.caption_weight)
        if not losses:
            raise ValueError("nothing to learn from questions: Config.caption_weight is 0")
        #: The sum of both: the gradients of the two passes add up | L = L_{foc} + L_{cap}
        return {"loss": losses[0] if len(losses) == 1 else losses[0] + losses[1], **out}

    def before_step(self, done):
        """The last steps of the training are for cropped positions; `done` of it (0..1) is over."""
        self.cropping = done >= 1 - self.config.crop_positions

    def look(self, images, random=None):
        """images (B, 3, S, S) or clips (B, 3, F, S, S) -> patches (B, N, image_width), memory (B, N, C), v_i (B, C)"""
        patches = self.patches(images, random)
        #: One linear map to the decoder's width; what is compared is its mean | v = \mathrm{mean}(W X), V = W X
        memory = self.to_decoder(patches)
        return patches, memory, ops.normalize(memory.mean(axis=1))

    def patches(self, images, random=None):
        """images (B, 3, S, S) or clips (B, 3, F, S, S) -> what the ViT makes of their tokens (B, N, image_width)"""
        vit = self.vit
        if self.config.centred:
            images = images - images.mean(axis=(*range(1, images.ndim),), keepdims=True)
        if images.ndim == 5:
            if self.video is None:
                raise ValueError(f"clips {images.shape}: this model has Config.frames = 1; train one for clips")
            return vit.transformer(self.video(images, vit), random=random)
        if random is None or not self.cropping:
            return vit(images, random)
        x = ops.patch_embed(images, vit.patch, vit.patch_bias)
        return vit.transformer(x + nn.cropped_positions(vit.position, len(images), random), random=random)

    def embed(self, text, past=0):
        """text (B, T), `past` tokens behind the start -> (B, T, C)"""
        T = text.shape[1]
        if self.config.context < past + T:
            raise ValueError(f"text of {past + T} tokens, Config.context is {self.config.context}")
        #: Words become vectors, with their place | w_t = E_{y_t} + e_t
        return self.tokens(text) + self.position[past : past + T]

    def read(self, text, lengths, random=None):
        """Pass A.   text (B, T), lengths (B,) -> words (B, T, C), l_i (B, C) of length 1"""
        c, T = self.config, text.shape[1]
        # minivl:exercise ex10.c points=3 "the pass that compares"
        # minivl:hint all see every word but no pad (c.mask_pads), unless c.contrast_pass is "causal"; no memory
        # minivl:hint the text is the mean over its words; `_like(array, words)` is an array in their dtype
        mask = masks.padding(lengths, T) if c.mask_pads else masks.bidirectional(T)
        if c.contrast_pass == "causal":
            mask = mask & masks.causal(T)
        words = self.decoder(self.embed(text), mask, random=random)
        if not c.mask_pads:
            return words, ops.normalize(words.mean(axis=1))
        shares = masks.padding(lengths, T)[:, 0, 0, :, None] / np.asarray(lengths)[:, None, None]
        return words, ops.normalize((words * _like(shares, words)).sum(axis=1))
        # minivl:end

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
        """images (B, 3, S, S) or clips (B, 3, F, S, S) -> (B, C) of length 1"""
        return self.look(images)[2]

    encode_video = encode_image  # one encoder, once

    def encode_text(self, text, lengths=None):
        """text (B, T) with lengths (B,), or a list of strings -> (B, C) of length 1"""
        if lengths is None:
            text, lengths = self.tokenize(text)
        return self.read(text, lengths)[1]

    def zeroshot_classifier(self, names, templates=("a photo of the {}.",)):
        """Class names -> (C, classes): the mean embedding of each name's prompts. `encode_image(x) @ it` scores x."""
        with no_grad():
            prompts = self.encode_text([t.format(name) for name in names for t in templates])
            mean = prompts.reshape(len(names), len(templates), -1).mean(axis=1)
            return ops.normalize(mean).T

    def decode(self, text, memory, cache=None):
        """Pass B.   Logits (B, T, V) of what follows each of text (B, T), given memory (B, M, C).

        cache    an nn.Cache: text goes on where the calls before ended, and only its new tokens are worked out
        """
        T, past = text.shape[1], 0 if cache is None else cache.length
        return self.next_token(self.decoder(self.embed(text, past), masks.causal(T, past), memory, cache))

    def generate(self, images, *, prompt=None, max_tokens=None, beams=1, **sampling):
        """Captions for images or clips: strings where the model has a tokenizer, otherwise arrays of tokens.

        prompt     tokens (t,), or (B, t), that the captions begin with, after the start token
        sampling   temperature, top_k, top_p, random, length_penalty: see minivl.generate.generate
        """
        prompt = np.zeros(0, np.int64) if prompt is None else np.asarray(prompt, np.int64)
        prompt = np.broadcast_to(prompt, (len(images), prompt.shape[-1]))
        with no_grad():
            texts = self._write(self.look(images)[1], prompt, max_tokens, beams, **sampling)
        texts = [np.concatenate(pair) for pair in zip(prompt, texts, strict=True)]
        return texts if self.tokenizer is None else [self.tokenizer.decode(text) for text in texts]

    def answer(self, images, questions, max_tokens=None, beams=1, **sampling):
        """Answers to questions, one for each of images or clips: written word by word, any words.

        The question is the prompt, and the answer is what the decoder writes behind it. Nothing limits it to a list.
        """
        if self.tokenizer is None:
            raise ValueError("this model has no tokenizer: load a trained one with minivl.load, or set model.tokenizer")
        asked = [np.array(self.tokenizer.encode(question), np.int64) for question in questions]
        answers = [""] * len(asked)
        with no_grad():
            memory = self.look(images)[1]
            for length in sorted({len(tokens) for tokens in asked}):  # rows that are read together are equally long
                rows = [i for i, tokens in enumerate(asked) if len(tokens) == length]
                prompt = np.stack([asked[i] for i in rows])
                for i, text in zip(
                    rows, self._write(memory[np.array(rows)], prompt, max_tokens, beams, **sampling), strict=True
                ):
                    answers[i] = self.tokenizer.decode(text).strip()
        return answers

    def _write(self, memory, prompt, max_tokens, beams, **sampling):
        """What follows each prompt (B, t), given memory (B, M, C): a list of arrays of tokens."""
        c, cache = self.config, nn.Cache()
        begin = np.concatenate([np.full((len(prompt), 1), c.start_token), prompt], axis=1)
        room = c.context - begin.shape[1]
        if room < 1:
            told = f"prompt has {prompt.shape[1]} tokens, must leave room for one in {c.context}"
            raise ValueError(f"generate: {told}")
        if beams > 1:
            memory = memory[np.repeat(np.arange(len(prompt)), beams)]
        return generate.generate(
            lambda tokens: self.decode(to_device(tokens, device_of(memory.data)), memory, cache).data[:, -1],
            begin,
            end=c.end_token,
            max_tokens=room if max_tokens is None else min(max_tokens, room),
            beams=beams,
            select=cache.select,
            **sampling,
        )

    def frozen_features(self, images):
        """images (B, 3, S, S) -> the mean of their features (B, C): what a linear probe is put on."""
        return self.look(images)[1].mean(axis=1)

    def feature_map(self, images):
        """images (B, 3, S, S) -> (B, image_width, rows, columns): what a detector stands on. Its heads are to come."""
        side = self.config.image_size // self.config.patch
        return self.patches(images).reshape(len(images), side, side, -1).transpose(0, 3, 1, 2)


def _check(c):
    for name, known in (("contrast", ("focal", "softmax")), ("contrast_pass", ("bidirectional", "causal"))):
        if getattr(c, name) not in known:
            raise ValueError(f"Config.{name} is {getattr(c, name)!r}, must be {known[0]!r} or {known[1]!r}")
    if c.layers < 1 or (c.cross_layers and c.layers % c.cross_layers):
        raise ValueError(f"Config.cross_layers is {c.cross_layers}, must divide Config.layers, {c.layers}")
    if not (c.contrastive_weight or c.caption_weight):
        raise ValueError("Config.contrastive_weight and Config.caption_weight are both 0: nothing to learn")


def _like(array, tensor):
    """The NumPy array in the dtype of the tensor, and where that is."""
    return to_device(np.asarray(array, tensor.dtype), device_of(tensor.data))


# ---- the decoder -----------------------------------------------------------------------------------------------------


class Decoder(nn.Module):
    """Blocks of self-attention, and behind each N/M-th a cross block, which is skipped where there is no memory.

    x        (B, T, C)
    mask     who of x may attend to whom in x, boolean, broadcastable to (B, H, T, T)
    memory   (B, M, C), what the cross blocks look at; None: pass A
    """

    def __init__(self, layers, cross_layers, C, H, hidden, random, dropout=0.0, checkpointed=False):
        scale = (2 * (layers + cross_layers)) ** -0.5  # as in nn.Transformer: so many branches are added to the stream
        self.blocks = [nn.Block(C, H, hidden, random, scale=scale, dropout=dropout) for _ in range(layers)]
        self.cross = [CrossBlock(C, H, hidden, random, scale, dropout) for _ in range(cross_layers)]
        self.norm, self.checkpointed = nn.LayerNorm(C), checkpointed

    def forward(self, x, mask, memory=None, cache=None, random=None):
        # minivl:exercise ex10.b points=4 "one decoder, two passes"
        # minivl:hint block(x, mask=mask, cache=cache, random=random); cross(x, memory, cache, random)
        # minivl:hint behind each N/M-th block stands a cross block, skipped without memory; `self.run` runs both
        every = len(self.blocks) // max(1, len(self.cross))
        for i, block in enumerate(self.blocks, 1):
            x = self.run(lambda x, block=block: block(x, mask=mask, cache=cache, random=random), x, random)
            if memory is not None and self.cross and i % every == 0:
                cross = self.cross[i // every - 1]
                x = self.run(lambda x, cross=cross: cross(x, memory, cache, random), x, random)
        return self.norm(x)
        # minivl:end

    def run(self, block, x, random):
        return checkpoint(block, x, random=random) if self.checkpointed else block(x)


class CrossBlock(nn.Module):
    """Cross-attention and an MLP of its own, each added to its input: 420M numbers in the paper need both."""

    def __init__(self, C, H, hidden, random, scale=1.0, dropout=0.0):
        self.norm1, self.norm_memory = nn.LayerNorm(C), nn.LayerNorm(C)
        self.attend_memory = nn.MultiHeadAttention(C, H, random, scale=scale)
        self.norm2, self.mlp, self.dropout = nn.LayerNorm(C), nn.MLP(C, hidden, random, scale), dropout

    def forward(self, x, memory, cache=None, random=None):
        if cache is None or not cache.has_memory(self.attend_memory):  # at the first word of a text only
            memory = self.norm_memory(memory)
        x = x + self.drop(self.attend_memory(self.norm1(x), memory=memory, cache=cache), random)
        return x + self.drop(self.mlp(self.norm2(x)), random)

    def drop(self, x, random):
        return x if random is None else ops.dropout(x, p=self.dropout, random=random)


# ---- clips: sparse patches and tubes through the picture's own ViT, once ---------------------------------------------


class Tubes(nn.Module):
    """clips (B, 3, F, S, S) -> tokens (B, N, C): the ViT's patches of a few frames, then tubes of every shape.

    A token's place is what the ViT has learned for pictures, read at the tube's middle, and a fixed one in time, height
    and width.
    """

    def __init__(self, c, random):
        self.config, self.shapes = c, [((1, c.patch, c.patch), (c.frame_stride, c.patch, c.patch), (0, 0, 0))]
        self.shapes += tube_shapes(c.tubes)
        kernels = [kernel for kernel, _, _ in self.shapes[1:]]
        self.kernels = [nn.parameter(random, 3, *k, c.image_width, std=(3 * np.prod(k)) ** -0.5) for k in kernels]
        self.biases = [nn.constant_parameter(0, c.image_width) for _ in kernels]
        self.gate = nn.constant_parameter(0.0) if c.gated and c.fixed_position else None
        size = (c.frames, c.image_size, c.image_size)
        centres = np.concatenate([ops.patch_centres(size, *shape) for shape in self.shapes])
        self.fixed = nn.sin_cos(centres, c.image_width)
        self.reading = nn.reading(c.image_size // c.patch, (centres[:, 1:] + 0.5) / c.patch - 0.5)

    def forward(self, clips, vit):
        c = self.config
        if clips.shape[1:] != (3, c.frames, c.image_size, c.image_size):
            wanted = f"(B, 3, {c.frames}, {c.image_size}, {c.image_size})"
            raise ValueError(f"MaMMUT: clips {clips.shape}, must be {wanted}")
        _, rows, columns, C = vit.patch.shape
        places = self.places(vit.position)

        #: Patches of a few frames, tubes of several shapes, one sequence | X = [W_0 p_1, \ldots, W_k t_1, \ldots]
        kernels = [vit.patch.reshape(3, 1, rows, columns, C), *self.kernels]
        parts = zip(kernels, [vit.patch_bias, *self.biases], self.shapes, strict=True)
        tokens = [ops.patch_embed(clips, w, b, stride=stride, offset=offset) for w, b, (_, stride, offset) in parts]
        return ops.cat(tokens, axis=1) + places

    def places(self, learned):
        """learned (N, C), of a picture's patches -> (N', C), of the tokens of a clip"""
        learned = Tensor(_like(self.reading, learned)) @ learned
        if not self.config.fixed_position:
            return learned
        fixed = _like(self.fixed, learned)
        if self.gate is None:
            return learned + fixed
        #: A gate weighs the fixed place against the learned one | e = \sigma(g) e_{fix} + (1 - \sigma(g)) e_{learn}
        share = ops.sigmoid(self.gate)
        return share * fixed + (1 - share) * learned


def tube_shapes(text):
    """ "8x8x8/16x32x32@0x0x0 ..." -> [(kernel, stride, offset), ...], each (frames, rows, columns)"""
    shapes = []
    for word in text.split():
        try:
            kernel, _, rest = word.partition("/")
            shape = [tuple(map(int, part.split("x"))) for part in (kernel, *rest.split("@"))]
            if [len(part) for part in shape] != [3, 3, 3]:
                raise ValueError
        except ValueError:
            raise ValueError(f"Config.tubes: {word!r} must be like 8x8x8/16x32x32@0x0x0") from None
        shapes.append(tuple(shape))
    return shapes
