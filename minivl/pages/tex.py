r"""Formulas: a subset of TeX becomes MathML, which browsers set by themselves, offline.

    mathml(r"A_{ij} = \frac{\exp S_{ij}}{\sum_k \exp S_{ik}}")   ->   '<math ...>...</math>'

A command outside the subset is a TexError that names it: tests turn every formula of the sources into MathML, so that
no reader ever meets a raw backslash.
"""

import html
import re

_GREEK = {
    "alpha": "α", "beta": "β", "gamma": "γ", "delta": "δ", "epsilon": "ϵ", "varepsilon": "ε", "zeta": "ζ", "eta": "η",
    "theta": "θ", "kappa": "κ", "lambda": "λ", "mu": "μ", "nu": "ν", "xi": "ξ", "pi": "π", "rho": "ρ", "sigma": "σ",
    "tau": "τ", "phi": "ϕ", "varphi": "φ", "chi": "χ", "psi": "ψ", "omega": "ω", "ell": "ℓ", "infty": "∞",
    "partial": "∂", "nabla": "∇", "emptyset": "∅", "top": "⊤", "bot": "⊥",
}  # fmt: skip
_CAPITALS = {
    "Gamma": "Γ", "Delta": "Δ", "Theta": "Θ", "Lambda": "Λ", "Sigma": "Σ", "Phi": "Φ", "Psi": "Ψ", "Omega": "Ω",
}  # fmt: skip
_OPERATORS = {
    "cdot": "⋅", "times": "×", "div": "÷", "pm": "±", "mp": "∓", "odot": "⊙", "oplus": "⊕", "otimes": "⊗", "circ": "∘",
    "ast": "∗", "star": "⋆", "le": "≤", "leq": "≤", "ge": "≥", "geq": "≥", "ne": "≠", "neq": "≠", "ll": "≪", "gg": "≫",
    "approx": "≈", "equiv": "≡", "sim": "∼", "propto": "∝", "in": "∈", "notin": "∉", "subset": "⊂", "subseteq": "⊆",
    "cup": "∪", "cap": "∩", "setminus": "∖", "to": "→", "rightarrow": "→", "leftarrow": "←", "gets": "←",
    "mapsto": "↦", "Rightarrow": "⇒", "Leftrightarrow": "⇔", "forall": "∀", "exists": "∃", "neg": "¬", "land": "∧",
    "lor": "∨", "ldots": "…", "dots": "…", "cdots": "⋯", "vdots": "⋮", "ddots": "⋱", "colon": ":", "prime": "′",
}  # fmt: skip
_FENCES = {
    "lVert": "‖", "rVert": "‖", "Vert": "‖", "|": "‖", "lvert": "|", "rvert": "|", "vert": "|", "mid": "∣",
    "langle": "⟨", "rangle": "⟩", "lfloor": "⌊", "rfloor": "⌋", "lceil": "⌈", "rceil": "⌉", "{": "{", "}": "}",
    "lbrace": "{", "rbrace": "}",
}  # fmt: skip
_BIG = {"sum": "∑", "prod": "∏", "int": "∫", "bigcup": "⋃", "bigcap": "⋂", "bigoplus": "⨁"}
_FUNCTIONS = {"log", "ln", "exp", "max", "min", "sin", "cos", "tanh", "arg", "argmax", "argmin", "softmax", "det", "Pr"}
_LIMITS = {"max", "min", "argmax", "argmin"}  # what is below them stands below, not beside
_SPACES = {",": "0.17em", ":": "0.22em", ";": "0.28em", " ": "0.33em", "!": "-0.17em", "quad": "1em", "qquad": "2em"}
_ACCENTS = {"hat": "^", "widehat": "^", "bar": "¯", "overline": "¯", "tilde": "~", "vec": "→", "dot": "˙"}
_STYLES = {
    "mathbf": "font-weight:bold;font-style:normal",
    "boldsymbol": "font-weight:bold",
    "mathit": "font-style:italic",
}
_UPRIGHT = {"mathrm", "text", "textrm", "operatorname", "mathsf", "mathtt", "textbf"}
_LETTERS = {
    "mathcal": dict(zip("BEFHILMR", "ℬℰℱℋℐℒℳℛ", strict=True)),
    "mathbb": dict(zip("CHNPQRZ1E", "ℂℍℕℙℚℝℤ𝟙𝔼", strict=True)),
}
_TABLES = {
    "matrix": ("", ""), "pmatrix": ("(", ")"), "bmatrix": ("[", "]"), "cases": ("{", ""), "aligned": ("", ""),
}  # fmt: skip
_TOKEN = re.compile(r"\\[a-zA-Z]+|\\.|\d+(?:\.\d+)?|\S", re.DOTALL)


class TexError(ValueError):
    """A formula outside the subset, or not well formed."""


def mathml(tex, block=False):
    """A formula as <math>, in a line of text or, as a `block`, on a line of its own."""
    try:
        parser = _Parser(tex)
        inside = parser.row(ends=())
        if parser.peek() is not None:
            raise TexError(f"an unexpected {parser.peek()}")
    except TexError as error:
        raise TexError(f"{error} in the formula {tex!r}") from None
    kind = ' display="block"' if block else ""
    return f"<math{kind}>{inside}</math>"


class _Parser:
    """Recursive descent: a row is a list of atoms, each with what stands below and above it."""

    def __init__(self, tex):
        self.tex = tex
        self.tokens = [(m.group(), m.end()) for m in _TOKEN.finditer(tex)]
        self.i = 0

    def peek(self):
        return self.tokens[self.i][0] if self.i < len(self.tokens) else None

    def next(self):
        if self.i >= len(self.tokens):
            raise TexError("it ends too early")
        self.i += 1
        return self.tokens[self.i - 1][0]

    def row(self, ends):
        """Atoms up to one of `ends`, which is left standing."""
        parts = []
        while self.peek() is not None and self.peek() not in ends:
            if self.peek() in ("}", "&", "\\\\", "\\right", "\\end"):
                raise TexError(f"an unexpected {self.peek()}")
            parts.append(self.scripted())
        return parts[0] if len(parts) == 1 else f"<mrow>{''.join(parts)}</mrow>"

    def scripted(self):
        """An atom with its subscript and superscript."""
        name = self.peek().removeprefix("\\")
        commanded = self.peek().startswith("\\")
        limits = commanded and (name in _BIG or name in _LIMITS)
        base, scripts = self.atom(), {}
        while self.peek() in ("_", "^", "'"):
            place = self.next()
            if place == "'":
                primes = 1
                while self.peek() == "'":
                    self.next()
                    primes += 1
                place, script = "^", f"<mo>{'′' * primes}</mo>"
            else:
                script = self.atom()
            if place in scripts:
                raise TexError(f"two {place} at one symbol")
            scripts[place] = script
        below, above = scripts.get("_"), scripts.get("^")
        under, over = ("munder", "mover") if limits else ("msub", "msup")
        both = "munderover" if limits else "msubsup"
        if below and above:
            base = f"<{both}>{base}{below}{above}</{both}>"
        elif below:
            base = f"<{under}>{base}{below}</{under}>"
        elif above:
            base = f"<{over}>{base}{above}</{over}>"
        if commanded and name in _FUNCTIONS:  # log x, but log(x)
            base += "<mo>&#x2061;</mo>" + ("" if self.peek() in ("(", None, "\\left", "[") else _space("0.17em"))
        return f"<mrow>{base}</mrow>" if commanded and name in _FUNCTIONS else base

    def atom(self):
        token = self.next()
        if token == "{":
            inside = self.row(ends=("}",))
            self.next()
            return inside
        if token.startswith("\\"):
            return self.command(token[1:])
        if token[0].isdigit():
            return f"<mn>{token}</mn>"
        if token.isalpha():
            return f"<mi>{token}</mi>"
        if token in ("_", "^"):
            raise TexError(f"nothing stands before {token}")
        return _operator({"-": "−", "*": "∗"}.get(token, token))

    def command(self, name):
        if name == "frac" or name == "tfrac":
            return f"<mfrac>{self.atom()}{self.atom()}</mfrac>"
        if name == "sqrt":
            return f"<msqrt>{self.atom()}</msqrt>"
        if name == "left":
            return self.fenced()
        if name == "begin":
            return self.table()
        if name in _UPRIGHT:
            return f'<mi mathvariant="normal">{html.escape(self.verbatim())}</mi>'
        if name in _STYLES:
            return f'<mi style="{_STYLES[name]}">{html.escape(self.verbatim())}</mi>'
        if name in _LETTERS:
            letters = self.verbatim()
            if letters not in _LETTERS[name]:
                raise TexError(f"no letter \\{name}{{{letters}}}")
            return f"<mi>{_LETTERS[name][letters]}</mi>"
        if name in _ACCENTS:
            return f'<mover accent="true">{self.atom()}<mo>{_ACCENTS[name]}</mo></mover>'
        if name in _SPACES:
            return _space(_SPACES[name])
        if name in _FUNCTIONS:
            return f"<mi>{name}</mi>"
        if name in _GREEK:
            return f"<mi>{_GREEK[name]}</mi>"
        if name in _CAPITALS:
            return f'<mi mathvariant="normal">{_CAPITALS[name]}</mi>'
        if name in _BIG:
            return f"<mo>{_BIG[name]}</mo>"
        if name in _OPERATORS:
            return _operator(_OPERATORS[name])
        if name in _FENCES:
            return f'<mo stretchy="false">{_FENCES[name]}</mo>'
        if name in ("_", "%", "&", "#", "$"):
            return _operator(name)
        raise TexError(f"an unknown command \\{name}")

    def fenced(self):
        r"""\left( ... \right): as high as what they enclose."""
        opening = self.fence()
        inside = self.row(ends=("\\right",))
        self.next()
        return f"<mrow>{opening}{inside}{self.fence()}</mrow>"

    def fence(self):
        token = self.next().removeprefix("\\")
        sign = "" if token == "." else _FENCES.get(token, token)
        return f"<mo>{html.escape(sign)}</mo>" if sign else ""

    def table(self):
        r"""\begin{cases} a & b \\ c & d \end{cases}"""
        name = self.verbatim()
        if name not in _TABLES:
            raise TexError(f"an unknown environment {name}")
        rows = [[]]
        while True:
            rows[-1].append(self.row(ends=("&", "\\\\", "\\end")))
            end = self.next()
            if end == "\\\\":
                rows.append([])
            elif end == "\\end":
                break
        if self.verbatim() != name:
            raise TexError(f"\\begin{{{name}}} has another \\end")
        align = {"cases": "left left", "aligned": "right left"}.get(name, "center")
        cells = "".join(f"<mtr>{''.join(f'<mtd>{cell}</mtd>' for cell in row)}</mtr>" for row in rows)
        opening, closing = (f"<mo>{sign}</mo>" if sign else "" for sign in _TABLES[name])
        return f'<mrow>{opening}<mtable columnalign="{align}">{cells}</mtable>{closing}</mrow>'

    def verbatim(self):
        r"""The text in braces, spaces and all: of \mathrm{no pads}."""
        if self.next() != "{":
            raise TexError("braces were expected")
        start, depth = self.tokens[self.i - 1][1], 1
        while depth:
            token = self.next()
            depth += (token == "{") - (token == "}")
        return self.tex[start : self.tokens[self.i - 1][1] - 1].strip()


def _operator(sign):
    fence = ' stretchy="false"' if sign in "()[]|" else ""
    return f"<mo{fence}>{html.escape(sign)}</mo>"


def _space(width):
    return f'<mspace width="{width}"></mspace>'
