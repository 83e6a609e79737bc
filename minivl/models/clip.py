r"""CLIP: Learning Transferable Visual Models From Natural Language Supervision.   arXiv 2103.00020
Radford, Kim, Hallacy, Ramesh, Goh, Agarwal, Sastry, Askell, Mishkin, Clark, Krueger, Sutskever. 2021.

Two towers, one for pictures and one for text, and nothing between them but an inner product. Of the B x B pairs that a
batch of B pictures and B texts can form, the B that belong together are to be found. A classifier then needs no
training: the text tower reads the names of the classes.

      image                               <start>  a  red  circle  <end>   pad
        |                                    |     |   |      |      |      |
      [ ViT with a class token,  ]        [ transformer, causal: nobody sees a pad ]
      [ or ResNet with attention ]                                   |
        | one vector                                     the last layer at <end>
      [ linear ]                                                 [ linear ]
        |                                                            |
      image embedding  <------- cosine, times exp(t) ------->  text embedding

  paper                 here
  I_f, T_f  (fig. 3)    image_features, text_features
  W_i, W_t              image_projection, text_projection; the ResNet's pooler has its own last map and no W_i
  I_e, T_e              image_embedding, text_embedding, of length 1
  t                     log_scale: it starts at ln(1/0.07), and training never lets it beyond ln 100 (sec. 2.5)

  where we differ       what we do, and why
  fig. 3's encoders     ... give one vector; ours keep the tokens before it as well, to be looked at
  same text twice       `same` takes pairs that belong together out of the negatives; batches of 32,768 can ignore them
  sigmoid               Config.loss = "sigmoid" is SigLIP's (arXiv 2303.15343), beside the paper's for comparison
"""

from dataclasses import dataclass

import numpy as np

from .. import masks, nn, ops
from ..array import array_module
from ..data.image import CLIP_MEAN, CLIP_STD, Preprocess
from ..losses import contrastive_loss, sigmoid_loss
from ..tensor import no_grad

LARGEST_SCALE = np.log(100)
# Seven prompts that together do nearly as well on ImageNet as the authors' eighty; "itap": I took a picture.
SEVEN_TEMPLATES = (
    "itap of a {}.",
    "a bad photo of the {}.",
    "a origami {}.",
    "a photo of the large {}.",
    "a {} in a video game.",
    "art of the {}.",
    "a photo of the small {}.",
)


@dataclass
class Config:
    embedding: int = 64  # E, of the space where pictures and texts meet
    image_size: int = 32
    image_encoder: str = "vit"  # or "resnet"
    image_width: int = 96  # of the ViT; of a ResNet: features of its first stage, see nn.ResNet
    image_heads: int = 4  # of a ResNet: of its attentional pooler
    patch: int = 8  # ViT only
    image_layers: int = 4  # ViT only
    image_blocks: tuple = (1, 1, 1)  # ResNet only: how many bottlenecks each stage has
    vocabulary: int = 512
    context: int = 32  # T, start and end token included
    text_width: int = 96
    text_heads: int = 4
    text_layers: int = 2
    quick_gelu: bool = True  # x sigmoid(1.702 x), which the published weights expect; False: the exact GELU
    loss: str = "softmax"  # the paper's; or "sigmoid"
    dropout: float = 0.0  # of the transformers; the paper has none
    checkpointed: bool = False  # the transformers: see nn.Transformer
    pad_token: int = 0
    start_token: int = 1
    end_token: int = 2
    centred: bool = False  # take each picture's own mean out: for drawings, whose paper is all white
    image_mean: tuple = CLIP_MEAN
    image_std: tuple = CLIP_STD

    @classmethod
    def tiny(cls, **changes):
        """Trains on two cores in two minutes."""
        return cls(**changes)

    @classmethod
    def tiny_resnet(cls, **changes):
        """Likewise, with a ResNet."""
        return cls(**{"image_encoder": "resnet", "image_width": 32, "image_heads": 8, **changes})

    @classmethod
    def vit_b_32(cls, **changes):
        """Table 20, as all that follow."""
        return cls._published(512, 224, 512, {"patch": 32, **_VIT_B}, changes)

    @classmethod
    def vit_b_16(cls, **changes):
        return cls._published(512, 224, 512, {"patch": 16, **_VIT_B}, changes)

    @classmethod
    def vit_l_14(cls, **changes):
        sizes = dict(patch=14, image_width=1024, image_heads=16, image_layers=24)
        return cls._published(768, 224, 768, sizes, changes)

    @classmethod
    def rn50(cls, **changes):
        """Table 19, as all that follow."""
        return cls._published(1024, 224, 512, _resnet(64, (3, 4, 6, 3)), changes)

    @classmethod
    def rn101(cls, **changes):
        return cls._published(512, 224, 512, _resnet(64, (3, 4, 23, 3)), changes)

    @classmethod
    def rn50x4(cls, **changes):
        return cls._published(640, 288, 640, _resnet(80, (4, 6, 10, 6)), changes)

    @classmethod
    def rn50x16(cls, **changes):
        return cls._published(768, 384, 768, _resnet(96, (6, 8, 18, 8)), changes)

    @classmethod
    def rn50x64(cls, **changes):
        return cls._published(1024, 448, 1024, _resnet(128, (3, 15, 36, 10)), changes)

    @staticmethod
    def _published(embedding, image_size, text_width, image, changes):
        """What all published sizes share: the text tower is as wide as it needs heads of 64, and twelve layers deep."""
        text = dict(vocabulary=49408, context=77, text_width=text_width, text_heads=text_width // 64, text_layers=12)
        tokens = dict(pad_token=0, start_token=49406, end_token=49407)
        return Config(**{"embedding": embedding, "image_size": image_size, **image, **text, **tokens, **changes})


_VIT_B = dict(image_width=768, image_heads=12, image_layers=12)


def _resnet(width, blocks):
    return dict(image_encoder="resnet", image_width=width, image_heads=width * 32 // 64, image_blocks=blocks)


class CLIP(nn.Module):
    """model(batch) gives the loss; encode_image, encode_text and zeroshot_classifier are its uses.

    random   a numpy.random.Generator that the weights are drawn from
    """

    def __init__(self, config, random):
        c = config
        for name, known in (("image_encoder", ("vit", "resnet")), ("loss", ("softmax", "sigmoid"))):
            if getattr(c, name) not in known:
                raise ValueError(f"Config.{name} is {getattr(c, name)!r}, must be {known[0]!r} or {known[1]!r}")
        self.config, self.tokenizer = config, None  # the tokenizer of the run that trained it, see minivl.load
        options = dict(dropout=c.dropout, checkpointed=c.checkpointed)
        options["activation"] = ops.quick_gelu if c.quick_gelu else ops.gelu
        C, W, E = c.image_width, c.text_width, c.embedding
        if c.image_encoder == "vit":
            sizes = c.image_size, c.patch, c.image_layers, C, c.image_heads, 4 * C
            options_of_vit = dict(bias=False, class_token=True, pre_norm=True, **options)
            self.image_encoder = nn.ViT(*sizes, random, **options_of_vit)
            self.image_projection = nn.Linear(C, E, random, bias=False)
        else:
            self.image_encoder = nn.ResNet(c.image_size, c.image_blocks, C, c.image_heads, E, random)
            self.image_projection = None
        self.tokens = nn.Embedding(c.vocabulary, W, random, std=0.02)
        self.position = nn.parameter(random, c.context, W, std=0.01)
        self.text_encoder = nn.Transformer(c.text_layers, W, c.text_heads, 4 * W, random, **options)
        self.text_projection = nn.Linear(W, E, random, bias=False)
        sigmoid = c.loss == "sigmoid"  # starts at arXiv 2303.15343, sec. 3.2: a small loss although most pairs are none
        self.log_scale = nn.constant_parameter(np.log(10) if sigmoid else np.log(1 / 0.07))
        self.bias = nn.constant_parameter(-10) if sigmoid else None
        initialise(self, random)

    # ---- the loss, sec. 2.3 and fig. 3 -------------------------------------------------------------------------------

    def forward(self, batch, random=None):
        """The loss of a batch, with every intermediate that has a name in the paper.

        batch    image (B, 3, S, S)   text (B, T)   lengths (B,)   same (B, B), if there: see contrastive_loss
        random   a numpy.random.Generator: dropout is on; None: off
        """
        image_features = self.image_features(batch["image"], random)
        text_features = self.text_features(batch["text"], batch["lengths"], random)
        #: Both into one space, to length 1 | I_e = \frac{W_i I_f}{\lVert W_i I_f \rVert}, T_e = \ldots
        image_embedding, text_embedding = self.project_image(image_features), self.project_text(text_features)
        same = batch.get("same")
        if self.bias is None:
            #: Picture finds text, text finds picture | L = \frac{1}{2} (CE_{rows} + CE_{columns})(e^t I_e T_e^\top)
            loss, similarity = contrastive_loss(image_embedding, text_embedding, self.log_scale, same)
        else:
            #: Each pair by itself: do they belong together? | L = -\frac{1}{B} \sum_{ij} \log \sigma(z_{ij} s_{ij})
            loss, similarity = sigmoid_loss(image_embedding, text_embedding, self.log_scale, self.bias, same)
        return {
            "loss": loss,
            "image_features": image_features,
            "text_features": text_features,
            "image_embedding": image_embedding,
            "text_embedding": text_embedding,
            "similarity": similarity,
        }

    def image_features(self, images, random=None):
        """images (B, 3, S, S) -> I_f: the ViT's class token (B, C), or what the ResNet's pooler gives (B, E)"""
        if self.config.centred:
            images = images - images.mean(axis=(1, 2, 3), keepdims=True)
        if self.image_projection is None:
            return self.image_encoder(images)
        #: The picture is what its class token has seen | I_f = \mathrm{LN}(x_{cls})
        return self.image_encoder(images, random)[:, 0]

    def text_features(self, text, lengths, random=None):
        """text (B, T), lengths (B,) -> T_f (B, W)"""
        B, T = text.shape
        if self.config.context < T:
            raise ValueError(f"text of {T} tokens, Config.context is {self.config.context}")
        #: Words become vectors, with their place | w_t = E_{y_t} + e_t
        x = self.tokens(text) + self.position[:T]
        #: No word sees a later one, and so none sees a pad | X = \mathrm{Transformer}(X)
        x = self.text_encoder(x, mask=masks.causal(T), random=random)
        #: The text is what its end token has read | T_f = \mathrm{LN}(x_{end})
        xp = array_module(x.data)
        return x[xp.arange(B), xp.asarray(lengths) - 1]

    def project_image(self, features):
        """I_f (B, C) -> I_e (B, E) of length 1"""
        return ops.normalize(features if self.image_projection is None else self.image_projection(features))

    def project_text(self, features):
        """T_f (B, W) -> T_e (B, E) of length 1"""
        return ops.normalize(self.text_projection(features))

    def after_step(self):
        """Clips t, so that logits are never scaled by more than 100 (sec. 2.5): t itself, or it could drift away."""
        if self.bias is None:
            t = self.log_scale.data
            array_module(t).minimum(t, t.dtype.type(LARGEST_SCALE), out=t)

    # ---- uses, sec. 3 ------------------------------------------------------------------------------------------------

    def preprocess(self, picture):
        """A PIL picture, a path or an array (H, W, 3) -> (3, S, S) float32, resized, cropped and normalised."""
        return Preprocess(self.config.image_size, self.config.image_mean, self.config.image_std)(picture)

    def tokenize(self, texts):
        """Strings -> text (B, T), lengths (B,), by the tokenizer that the model was trained with."""
        if self.tokenizer is None:
            raise ValueError("this model has no tokenizer: load a trained one with minivl.load, or set model.tokenizer")
        return self.tokenizer([texts] if isinstance(texts, str) else texts, self.config.context)

    def encode_image(self, images):
        """images (B, 3, S, S) -> (B, E) of length 1"""
        return self.project_image(self.image_features(images))

    def encode_text(self, text, lengths=None):
        """text (B, T) with lengths (B,), or a list of strings -> (B, E) of length 1"""
        if lengths is None:
            text, lengths = self.tokenize(text)
        return self.project_text(self.text_features(text, lengths))

    def zeroshot_classifier(self, names, templates=("a photo of a {}.",)):
        """Class names -> (E, classes): the mean embedding of each name's prompts. `encode_image(x) @ it` scores x.

        Normalised twice, each prompt and then the mean: an ensemble in the space of embeddings, sec. 3.1.4.
        """
        with no_grad():
            prompts = self.encode_text([t.format(name) for name in names for t in templates])
            mean = prompts.reshape(len(names), len(templates), -1).mean(axis=1)
            return ops.normalize(mean).T

    def frozen_features(self, images):
        """images (B, 3, S, S) -> (B, C): what a linear probe is put on, sec. 3.2. Before W_i, where there is one."""
        return self.image_features(images)


# ---- the weights at the start, which are the authors' ----------------------------------------------------------------


def initialise(model, random):
    """Draws all weights anew, as the authors' code does; the paper says little of it.

    Where they leave it to their library, a linear map or convolution is uniform in +-1/sqrt(inputs), bias included.
    """
    for module in model.modules():
        if isinstance(module, (nn.Linear, nn.Conv2d)):
            inputs = module.weight.size // module.weight.shape[-1]
            for tensor in (module.weight, module.bias):
                if tensor is not None:
                    _uniform(tensor, inputs**-0.5, random)
    if model.config.image_encoder == "vit":
        _initialise_vit(model.image_encoder, random)
        _normal(model.image_projection.weight, model.config.image_width**-0.5, random)
    else:
        _initialise_resnet(model.image_encoder, random)
    _initialise_text(model.text_encoder, random)
    _normal(model.text_projection.weight, model.config.text_width**-0.5, random)


def _initialise_vit(vit, random):
    channels, height, width, C = vit.patch.shape
    _uniform(vit.patch, (channels * height * width) ** -0.5, random)
    _normal(vit.cls, C**-0.5, random)
    _normal(vit.position, C**-0.5, random)
    for block in vit.transformer.blocks:
        for linear in _asking(block.attend):
            _uniform(linear.weight, (6 / (C + 3 * C)) ** 0.5, random)  # Glorot & Bengio's, of the three as one matrix
        _without_bias(block.attend)


def _initialise_resnet(resnet, random):
    pool, C = resnet.pool, resnet.pool.position.shape[1]
    _normal(pool.position, C**-0.5, random)
    for linear in (*_asking(pool.attend), pool.attend.out):
        _normal(linear.weight, C**-0.5, random)
    for module in resnet.modules():
        if isinstance(module, nn.Bottleneck):  # at first it gives what it gets
            module.norm3.weight.data = np.zeros_like(module.norm3.weight.data)


def _initialise_text(transformer, random):
    """As in GPT-2: what is added to the stream is the smaller, the more blocks add to it."""
    small = (2 * len(transformer.blocks)) ** -0.5
    for block in transformer.blocks:
        W = block.mlp.up.weight.shape[0]
        for linear in _asking(block.attend):
            _normal(linear.weight, W**-0.5, random)
        for linear in (block.attend.out, block.mlp.down):
            _normal(linear.weight, W**-0.5 * small, random)
        _normal(block.mlp.up.weight, (2 * W) ** -0.5, random)
        _without_bias(block.attend)


def _asking(attend):
    return attend.query, attend.key, attend.value


def _without_bias(attend):
    for linear in (*_asking(attend), attend.out):
        linear.bias.data = np.zeros_like(linear.bias.data)


def _normal(tensor, std, random):
    tensor.data = nn.parameter(random, *tensor.shape, std=std).data


def _uniform(tensor, bound, random):
    tensor.data = nn.uniform_parameter(random, *tensor.shape, bound=bound).data
