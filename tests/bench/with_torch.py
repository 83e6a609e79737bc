"""The cases, computed by PyTorch. CoCa and the encoder are written as a user of PyTorch would, from `torch.nn`.

Their attributes have minivl's names, so that moving the weights over needs no table: see `take_weights`.
"""

import cases
import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from minivl.array import cores

torch.set_num_threads(cores())


def about():
    return f"PyTorch {torch.__version__}"


def threads():
    return torch.get_num_threads()


def prepare(case):
    return {"train": train, "infer": infer, "generate": generate, "encoder": encoder, "op": op}[case["kind"]](case)


# ---- the models ------------------------------------------------------------------------------------------------------


class Attention(nn.Module):
    def __init__(self, C, H):
        super().__init__()
        self.H = H
        self.query, self.key, self.value, self.out = (nn.Linear(C, C) for _ in range(4))

    def heads(self, x):
        return x.unflatten(-1, (self.H, -1)).transpose(1, 2)

    def forward(self, x, memory=None, mask=None, cache=None):
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
        return self.out(F.scaled_dot_product_attention(q, k, v, attn_mask=mask).transpose(1, 2).flatten(2))


class MLP(nn.Module):
    def __init__(self, C, hidden):
        super().__init__()
        self.up, self.down = nn.Linear(C, hidden), nn.Linear(hidden, C)

    def forward(self, x):
        return self.down(F.gelu(self.up(x)))


class Block(nn.Module):
    def __init__(self, C, H, hidden, cross):
        super().__init__()
        self.norm1, self.attend = nn.LayerNorm(C), Attention(C, H)
        if cross:
            self.norm_cross, self.attend_memory = nn.LayerNorm(C), Attention(C, H)
        self.norm2, self.mlp, self.cross = nn.LayerNorm(C), MLP(C, hidden), cross

    def forward(self, x, mask=None, memory=None, cache=None):
        x = x + self.attend(self.norm1(x), mask=mask, cache=cache)
        if self.cross:
            x = x + self.attend_memory(self.norm_cross(x), memory=memory, cache=cache)
        return x + self.mlp(self.norm2(x))


class Transformer(nn.Module):
    def __init__(self, layers, C, H, hidden, cross=False):
        super().__init__()
        self.blocks, self.norm = nn.ModuleList(Block(C, H, hidden, cross) for _ in range(layers)), nn.LayerNorm(C)

    def stream(self, x, **context):
        for block in self.blocks:
            x = block(x, **context)
        return x

    def forward(self, x, **context):
        return self.norm(self.stream(x, **context))


class ViT(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.patch = nn.Conv2d(3, c.width, c.patch, c.patch)
        self.position = nn.Parameter(torch.empty((c.image_size // c.patch) ** 2, c.width))
        self.transformer = Transformer(c.image_layers, c.width, c.heads, c.image_hidden)

    def forward(self, images):
        return self.transformer(self.patch(images).flatten(2).transpose(1, 2) + self.position)


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
        self.vit, self.caption_pooler, self.contrastive_pooler = (
            ViT(c),
            Pooler(c.caption_queries, C, H),
            Pooler(1, C, H),
        )
        self.tokens = nn.Embedding(c.vocabulary, C)
        self.position, self.cls = nn.Parameter(torch.empty(c.context + 1, C)), nn.Parameter(torch.empty(1, 1, C))
        self.unimodal = Transformer(c.unimodal_layers, C, H, c.text_hidden)
        self.multimodal = Transformer(c.multimodal_layers, C, H, c.text_hidden, cross=True)
        self.next_token = nn.Linear(C, c.vocabulary, bias=False)
        self.log_scale, self.config = nn.Parameter(torch.empty(())), c

    def forward(self, batch):
        text, lengths = batch["text"], batch["lengths"]
        (B, T), place = text.shape, torch.arange(text.shape[1])
        memory = self.caption_pooler(self.vit(batch["image"]))
        image = F.normalize(self.contrastive_pooler(memory)[:, 0], dim=-1)

        word = place < lengths[:, None, None, None]
        causal = torch.ones(T + 1, T + 1, dtype=torch.bool).tril()
        x = self.tokens(text) + self.position[:T]
        x = torch.cat([x, (self.cls + self.position[-1]).expand(B, -1, -1)], dim=1)
        x = self.unimodal.stream(x, mask=causal & F.pad(word, (0, 1), value=True))
        sentence = F.normalize(self.unimodal.norm(x[:, T]), dim=-1)
        decoded = self.multimodal(x[:, :T], mask=causal[:T, :T] & word, memory=memory)

        counted = (place < lengths[:, None] - 1)[:, :-1]
        caption = F.cross_entropy(self.next_token(decoded[:, :-1][counted]), text[:, 1:][counted])
        scores = image @ sentence.T * self.log_scale.exp()
        diagonal = torch.arange(B)
        contrastive = (F.cross_entropy(scores, diagonal) + F.cross_entropy(scores.T, diagonal)) / 2
        return self.config.contrastive_weight * contrastive + self.config.caption_weight * caption

    def generate(self, images):
        """Greedy, with a cache of keys and values, until the context is full."""
        memory, cache = self.caption_pooler(self.vit(images)), {}
        tokens = torch.full((len(images), 1), self.config.start_token)
        texts = []
        for past in range(self.config.context - 1):
            x = self.tokens(tokens) + self.position[past]
            x = self.multimodal(self.unimodal.stream(x, cache=cache), memory=memory, cache=cache)
            tokens = self.next_token(x[:, -1]).argmax(-1, keepdim=True)
            texts.append(tokens)
        return torch.cat(texts, dim=1)


def take_weights(module, arrays):
    """minivl's weights (name -> array): matrices are turned, patches lie as a convolution wants them."""
    parameters, linear = dict(module.named_parameters()), set()
    for name, part in module.named_modules():
        if isinstance(part, nn.Linear):
            linear.add(f"{name}.weight")
    for name, array in arrays.items():
        name = {"vit.patch": "vit.patch.weight", "vit.patch_bias": "vit.patch.bias"}.get(name, name)
        array = array.T if name in linear else array.transpose(3, 0, 1, 2) if name == "vit.patch.weight" else array
        with torch.no_grad():
            parameters.pop(name).copy_(torch.from_numpy(np.ascontiguousarray(array).reshape(array.shape)))
    if parameters:
        raise ValueError(f"weights: got none for {', '.join(parameters)}")
    return module


# ---- the cases -------------------------------------------------------------------------------------------------------


def coca(size):
    ours, batch = cases.coca(size)
    return take_weights(CoCa(ours.config), ours.state_dict()), {k: torch.from_numpy(a) for k, a in batch.items()}


def train(case):
    model, batch = coca(case["size"])
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)

    def step():
        optimizer.zero_grad()
        loss = model(batch)
        loss.backward()
        optimizer.step()
        return [loss.detach().numpy()]

    return step


def infer(case):
    model, batch = coca(case["size"])

    def step():
        with torch.inference_mode():
            return [model(batch).numpy()]

    return step


def generate(case):
    model, batch = coca(case["size"])

    def step():
        with torch.inference_mode():
            return [model.generate(batch["image"]).numpy()]

    return step


def encoder(case):
    ours, x = cases.encoder(**case["sizes"])
    s = case["sizes"]
    model = take_weights(Transformer(s["layers"], s["width"], s["heads"], 4 * s["width"]), ours.state_dict())
    x = torch.from_numpy(x)

    def step():
        model.zero_grad()
        y = model(x)
        loss = (y * y).mean()
        loss.backward()
        return [loss.detach().numpy(), model.blocks[0].attend.query.weight.grad.numpy()]

    return step


OPS = {
    "attention": F.scaled_dot_product_attention,
    "attention, causal": F.scaled_dot_product_attention,
    "layernorm": lambda x, weight, bias: F.layer_norm(x, bias.shape, weight, bias),
    "gelu": F.gelu,
    "cross_entropy": F.cross_entropy,
    "linear": F.linear,
    "softmax": lambda x: x.softmax(-1),
    "embedding": lambda table, ids: F.embedding(ids, table),
    "patch_embed": lambda x, w, bias: F.conv2d(x, w, bias, stride=w.shape[2:]).flatten(2).transpose(1, 2),
}


def op(case):
    name, arrays = case["name"], cases.op_inputs(case["name"], **case["sizes"])
    learn = cases.learned(name, arrays)
    if name == "AdamW":
        return adamw(arrays)
    if name == "linear":
        arrays[1] = np.ascontiguousarray(arrays[1].T)
    if name == "patch_embed":
        arrays[1] = np.ascontiguousarray(arrays[1].transpose(3, 0, 1, 2))
    inputs = [torch.from_numpy(a).requires_grad_(wanted) for a, wanted in zip(arrays, learn, strict=True)]
    tensors = [x for x in inputs if x.requires_grad]
    dy = torch.from_numpy(np.asarray(cases.upstream(OPS[name](*inputs).shape)))

    def step():
        for tensor in tensors:
            tensor.grad = None
        y = OPS[name](*inputs)
        y.backward(dy)
        return [y.detach().numpy(), *(tensor.grad.numpy() for tensor in tensors)]

    return step


def adamw(arrays):
    params = [torch.from_numpy(a).requires_grad_() for a in arrays]
    for p in params:
        p.grad = torch.from_numpy(cases.upstream(tuple(p.shape)))
    optimizer = torch.optim.AdamW(params, lr=1e-3)

    def step():
        optimizer.step()
        return [p.detach().numpy() for p in params]

    return step
