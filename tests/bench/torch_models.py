"""The models, written as a user of PyTorch would: from `torch.nn`, eager, with its fused attention.

Their attributes have minivl's names, so that moving the weights over needs no table: see `take_weights`.
"""

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

# ---- what they share -------------------------------------------------------------------------------------------------


class Attention(nn.Module):
    def __init__(self, C, H):
        super().__init__()
        self.H = H
        self.query, self.key, self.value, self.out = (nn.Linear(C, C) for _ in range(4))

    def heads(self, x):
        return x.unflatten(-1, (self.H, -1)).transpose(1, 2)

    def forward(self, x, memory=None, mask=None, causal=False, cache=None):
        q = self.heads(self.query(x))
        if memory is not None and cache is not None and self in cache:
            k, v = cache[self]
        else:
            source = x if memory is None else memory
            k, v = self.heads(self.key(source)), self.heads(self.value(source))
            if cache is not None:
                if self in cache:
                    k, v = torch.cat([cache[self][0], k], dim=2), torch.cat([cache[self][1], v], dim=2)
                cache[self] = k, v
        attended = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, is_causal=causal)
        return self.out(attended.transpose(1, 2).flatten(2))


def quick_gelu(x):
    return x * torch.sigmoid(1.702 * x)


class MLP(nn.Module):
    def __init__(self, C, hidden, activation=F.gelu):
        super().__init__()
        self.up, self.down, self.activation = nn.Linear(C, hidden), nn.Linear(hidden, C), activation

    def forward(self, x):
        return self.down(self.activation(self.up(x)))


class Block(nn.Module):
    def __init__(self, C, H, hidden, cross=False, activation=F.gelu):
        super().__init__()
        self.norm1, self.attend = nn.LayerNorm(C), Attention(C, H)
        if cross:
            self.norm_cross, self.attend_memory = nn.LayerNorm(C), Attention(C, H)
        self.norm2, self.mlp, self.cross = nn.LayerNorm(C), MLP(C, hidden, activation), cross

    def forward(self, x, mask=None, causal=False, memory=None, cache=None):
        x = x + self.attend(self.norm1(x), mask=mask, causal=causal, cache=cache)
        if self.cross:
            x = x + self.attend_memory(self.norm_cross(x), memory=memory, cache=cache)
        return x + self.mlp(self.norm2(x))


class Transformer(nn.Module):
    def __init__(self, layers, C, H, hidden, **options):
        super().__init__()
        self.blocks, self.norm = nn.ModuleList(Block(C, H, hidden, **options) for _ in range(layers)), nn.LayerNorm(C)

    def stream(self, x, **context):
        for block in self.blocks:
            x = block(x, **context)
        return x

    def forward(self, x, **context):
        return self.norm(self.stream(x, **context))


class ViT(nn.Module):
    def __init__(self, image_size, patch, layers, C, H, hidden):
        super().__init__()
        self.patch = nn.Conv2d(3, C, patch, patch)
        self.position = nn.Parameter(torch.empty((image_size // patch) ** 2, C))
        self.transformer = Transformer(layers, C, H, hidden)

    def forward(self, images):
        return self.transformer(self.patch(images).flatten(2).transpose(1, 2) + self.position)


def contrastive_loss(image, text, log_scale):
    scores = image @ text.T * log_scale.exp()
    diagonal = torch.arange(len(scores), device=scores.device)
    return (F.cross_entropy(scores, diagonal) + F.cross_entropy(scores.T, diagonal)) / 2


def captioning_loss(decoded, next_token, text, lengths):
    counted = torch.arange(text.shape[1] - 1, device=text.device) < lengths[:, None] - 1
    return F.cross_entropy(next_token(decoded[:, :-1][counted]), text[:, 1:][counted])


def greedy(model, images):
    """With a cache of keys and values, until the context is full."""
    memory, cache = model.look(images), {}
    tokens = torch.full((len(images), 1), model.config.start_token)
    texts = []
    for past in range(model.config.context - 1):
        x = model.tokens(tokens) + model.position[past]
        tokens = model.next_token(model.decode(x, memory, cache)[:, -1]).argmax(-1, keepdim=True)
        texts.append(tokens)
    return torch.cat(texts, dim=1)


# ---- CoCa ------------------------------------------------------------------------------------------------------------


class Pooler(nn.Module):
    def __init__(self, queries, C, H):
        super().__init__()
        self.queries = nn.Parameter(torch.empty(queries, C))
        self.norm_queries, self.norm_memory, self.norm = nn.LayerNorm(C), nn.LayerNorm(C), nn.LayerNorm(C)
        self.attend = Attention(C, H)

    def forward(self, memory):
        questions = self.norm_queries(self.queries).expand(len(memory), -1, -1)
        return self.norm(self.attend(questions, memory=self.norm_memory(memory)))


class CoCa(nn.Module):
    def __init__(self, c):
        super().__init__()
        C, H = c.width, c.heads
        self.vit = ViT(c.image_size, c.patch, c.image_layers, C, H, c.image_hidden)
        self.caption_pooler, self.contrastive_pooler = Pooler(c.caption_queries, C, H), Pooler(1, C, H)
        self.tokens = nn.Embedding(c.vocabulary, C)
        self.position, self.cls = nn.Parameter(torch.empty(c.context + 1, C)), nn.Parameter(torch.empty(1, 1, C))
        self.unimodal = Transformer(c.unimodal_layers, C, H, c.text_hidden)
        self.multimodal = Transformer(c.multimodal_layers, C, H, c.text_hidden, cross=True)
        self.next_token = nn.Linear(C, c.vocabulary, bias=False)
        self.log_scale, self.config = nn.Parameter(torch.empty(())), c

    def look(self, images):
        return self.caption_pooler(self.vit(images))

    def forward(self, batch):
        text, lengths = batch["text"], batch["lengths"]
        (B, T), place = text.shape, torch.arange(text.shape[1])
        memory = self.look(batch["image"])
        image = F.normalize(self.contrastive_pooler(memory)[:, 0], dim=-1)

        word = place < lengths[:, None, None, None]
        causal = torch.ones(T + 1, T + 1, dtype=torch.bool).tril()
        x = self.tokens(text) + self.position[:T]
        x = torch.cat([x, (self.cls + self.position[-1]).expand(B, -1, -1)], dim=1)
        x = self.unimodal.stream(x, mask=causal & F.pad(word, (0, 1), value=True))
        sentence = F.normalize(self.unimodal.norm(x[:, T]), dim=-1)
        decoded = self.multimodal(x[:, :T], mask=causal[:T, :T] & word, memory=memory)

        contrastive = contrastive_loss(image, sentence, self.log_scale)
        caption = captioning_loss(decoded, self.next_token, text, lengths)
        return self.config.contrastive_weight * contrastive + self.config.caption_weight * caption

    def decode(self, x, memory, cache):
        return self.multimodal(self.unimodal.stream(x, cache=cache), memory=memory, cache=cache)


# ---- CLIP, with a ViT ------------------------------------------------------------------------------------------------


class CLIPViT(nn.Module):
    """With a class token, and a layer normalisation before the first block."""

    def __init__(self, image_size, patch, layers, C, H):
        super().__init__()
        self.patch, self.cls = nn.Conv2d(3, C, patch, patch, bias=False), nn.Parameter(torch.empty(1, 1, C))
        self.position = nn.Parameter(torch.empty(1 + (image_size // patch) ** 2, C))
        self.pre_norm = nn.LayerNorm(C)
        self.transformer = Transformer(layers, C, H, 4 * C, activation=quick_gelu)

    def forward(self, images):
        patches = self.patch(images).flatten(2).transpose(1, 2)
        x = torch.cat([self.cls.expand(len(patches), -1, -1), patches], dim=1) + self.position
        return self.transformer(self.pre_norm(x))


class CLIP(nn.Module):
    def __init__(self, c):
        super().__init__()
        C, W = c.image_width, c.text_width
        self.image_encoder = CLIPViT(c.image_size, c.patch, c.image_layers, C, c.image_heads)
        self.image_projection = nn.Linear(C, c.embedding, bias=False)
        self.tokens, self.position = nn.Embedding(c.vocabulary, W), nn.Parameter(torch.empty(c.context, W))
        self.text_encoder = Transformer(c.text_layers, W, c.text_heads, 4 * W, activation=quick_gelu)
        self.text_projection = nn.Linear(W, c.embedding, bias=False)
        self.log_scale = nn.Parameter(torch.empty(()))

    def forward(self, batch):
        text, lengths = batch["text"], batch["lengths"]
        image = self.image_projection(self.image_encoder(batch["image"])[:, 0])
        x = self.text_encoder(self.tokens(text) + self.position[: text.shape[1]], causal=True)
        sentence = self.text_projection(x[torch.arange(len(x)), lengths - 1])
        return contrastive_loss(F.normalize(image, dim=-1), F.normalize(sentence, dim=-1), self.log_scale)


# ---- MaMMUT, of pictures ---------------------------------------------------------------------------------------------


class CrossBlock(nn.Module):
    def __init__(self, C, H, hidden):
        super().__init__()
        self.norm1, self.norm_memory, self.attend_memory = nn.LayerNorm(C), nn.LayerNorm(C), Attention(C, H)
        self.norm2, self.mlp = nn.LayerNorm(C), MLP(C, hidden)

    def forward(self, x, memory, cache=None):
        if cache is None or self.attend_memory not in cache:  # later its keys and values are known
            memory = self.norm_memory(memory)
        x = x + self.attend_memory(self.norm1(x), memory=memory, cache=cache)
        return x + self.mlp(self.norm2(x))


class Decoder(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.blocks = nn.ModuleList(Block(c.width, c.heads, c.hidden) for _ in range(c.layers))
        self.cross = nn.ModuleList(CrossBlock(c.width, c.heads, c.hidden) for _ in range(c.cross_layers))
        self.norm, self.every = nn.LayerNorm(c.width), c.layers // c.cross_layers

    def forward(self, x, memory=None, cache=None, **context):
        for i, block in enumerate(self.blocks, 1):
            x = block(x, cache=cache, **context)
            if memory is not None and i % self.every == 0:
                x = self.cross[i // self.every - 1](x, memory, cache)
        return self.norm(x)


class MaMMUT(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.vit = ViT(c.image_size, c.patch, c.image_layers, c.image_width, c.image_heads, c.image_hidden)
        self.to_decoder = nn.Linear(c.image_width, c.width)
        self.tokens, self.position = nn.Embedding(c.vocabulary, c.width), nn.Parameter(torch.empty(c.context, c.width))
        self.decoder, self.next_token = Decoder(c), nn.Linear(c.width, c.vocabulary, bias=False)
        self.log_scale, self.config = nn.Parameter(torch.empty(())), c

    def look(self, images):
        return self.to_decoder(self.vit(images))

    def forward(self, batch):
        text, lengths = batch["text"], batch["lengths"]
        memory = self.look(batch["image"])
        image = F.normalize(memory.mean(1), dim=-1)

        x, word = self.tokens(text) + self.position[: text.shape[1]], torch.arange(text.shape[1]) < lengths[:, None]
        words = self.decoder(x, mask=word[:, None, None])
        sentence = F.normalize((words * word[..., None]).sum(1) / lengths[:, None], dim=-1)
        decoded = self.decoder(x, memory, causal=True)  # pads stand behind all words

        contrastive = focal_loss(image, sentence, self.log_scale, self.config.gamma)
        caption = captioning_loss(decoded, self.next_token, text, lengths)
        return self.config.contrastive_weight * contrastive + self.config.caption_weight * caption

    def decode(self, x, memory, cache):
        return self.decoder(x, memory, cache)


def focal_loss(image, text, log_scale, gamma):
    scores = image @ text.T * log_scale.exp()
    scores = torch.where(torch.eye(len(scores), dtype=torch.bool), scores, -scores)
    return (2 / len(scores)) * (torch.sigmoid(-scores) ** gamma * -F.logsigmoid(scores)).sum()


# ---- minivl's weights ------------------------------------------------------------------------------------------------


def take_weights(module, arrays):
    """minivl's weights (name -> array): matrices are turned, patches lie as a convolution wants them."""
    parameters, parts = dict(module.named_parameters()), dict(module.named_modules())
    for name, array in arrays.items():
        if name.endswith(".patch_bias"):
            name = name.removesuffix("_bias") + ".bias"
        elif name.endswith(".patch"):
            name, array = f"{name}.weight", array.transpose(3, 0, 1, 2)
        elif isinstance(parts.get(name.removesuffix(".weight")), nn.Linear):
            array = array.T
        with torch.no_grad():
            parameters.pop(name).copy_(torch.from_numpy(np.ascontiguousarray(array).reshape(array.shape)))
    if parameters:
        raise ValueError(f"weights: got none for {', '.join(parameters)}")
    return module
