"""Attention as the page holds it: each site with its arrays at every time, and the masks."""

import numpy as np

from .ablation import ablate
from .looks import sites
from .why import masks_of, place_of

_SCORES = 350_000  # bytes that scores and weights of all layers may take; above, some layers of each stack are left out
_SILENCED = 48  # attentions whose heads are silenced one by one; of more, none are


class Attentions:
    """Describes the sites and masks of `book`, and puts their arrays into it."""

    def __init__(self, book):
        self.book, self.record = book, book.last
        self.masks = masks_of(self.record, book.sites)
        self.calls = [n for n, call in enumerate(self.record.calls) if call.op == "attention"]

    def describe_all(self):
        """(sites, masks), as the page holds them."""
        self.keep()
        found = [self.site(site) for site in self.book.sites]
        return found, [self.mask(i, mask) for i, mask in enumerate(self.masks)]

    def silence(self):
        """How the loss changes without each head of each attention; None where there are too many."""
        heads = [self.record.calls[n].out.shape[1] for n in self.calls]
        return ablate(self.book.model, self.book.found.batch, heads) if len(heads) <= _SILENCED else None

    def keep(self):
        """Packs what each site looked like, at every time; queries, keys and values of the finished model only."""
        size = sum(4 * look.weights.size for site in self.book.sites for look in site.looks)
        keep = 1 if size <= _SCORES else _SCORES / size
        for site in self.book.sites:
            count = max(2, int(len(site.looks) * keep)) if keep < 1 else len(site.looks)
            site.kept = sorted({round(i) for i in np.linspace(0, len(site.looks) - 1, min(count, len(site.looks)))})
        for t, kept in enumerate(self.book.records):
            now = self.book.sites if kept is self.record else sites(kept)
            for i, (site, known) in enumerate(zip(now, self.book.sites, strict=True)):
                for layer in known.kept:
                    self.keep_look(f"look/{i}/{layer}", site.looks[layer], t)

    def keep_look(self, name, look, time):
        last = time == len(self.book.times) - 1
        self.book.put(f"{name}/weights", look.weights, "f2" if last else "u1", time)
        self.book.put(f"{name}/scores", look.scores, "f2" if last else "i1", time)
        if last:
            for part in ("q", "k", "v"):
                self.book.put(f"{name}/{part}", getattr(look, part), "f2")
            if look.dweights is not None:
                self.book.put(f"{name}/dweights", look.dweights, "i1")

    def site(self, site):
        first = site.looks[0]
        step = next((s for s in self.book.forward.steps for v in s.variants if first.call in v.calls), None)
        return {
            "name": site.name, "home": step.key if step else None, "heads": int(first.q.shape[0]),
            "layers": len(site.looks), "kept": site.kept, "D": int(first.q.shape[-1]), "scale": first.scale,
            "queries": first.queries.tolist(), "keys": first.keys.tolist(), "through": site.through,
            "masks": [self.mask_number(look) for look in site.looks],
            "changes": [] if self.book.changes is None else
            [[float(f"{x:.4g}") for x in self.book.changes[self.calls.index(look.call)]] for look in site.looks],
            "gradients": [[] if look.dmixed is None else
                          [float(f"{np.linalg.norm(head):.4g}") for head in look.dmixed] for look in site.looks],
        }  # fmt: skip

    def mask_number(self, look):
        return next((i for i, mask in enumerate(self.masks) if look.call in mask.calls), None)

    def mask(self, number, mask):
        self.book.put(f"mask/{number}", mask.allowed, "b1")
        for i, part in enumerate(mask.parts):
            self.book.put(f"mask/{number}/{i}", part.allowed, "b1")
        return {
            "queries": mask.queries.tolist(), "keys": mask.keys.tolist(),
            "parts": [{"told": part.told, "says": part.says, "name": part.name, "whole": part.whole,
                       "place": "{}:{}".format(*place_of(part.name))} for part in mask.parts],
        }  # fmt: skip
