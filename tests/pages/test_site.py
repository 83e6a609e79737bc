"""The site: each file whole under its own line numbers, each link leads somewhere, each mask is the function's own."""

import html
import re
import textwrap
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

from minivl import mask_atlas, masks
from minivl.pages import atlas, highlight, prose, side_by_side, tutorial
from minivl.pages.definitions import definition, links
from minivl.pages.named_steps import PACKAGE, named_steps, short
from minivl.pages.site import ORDER, Site, write_site

LESSON = """# %% [markdown]
# # Attention by hand
# One head: $A = \\mathrm{softmax}(QK^\\top)$, see [the op](../minivl/ops/attention.py#L20) and [more](02_more.py).
#
# | a | b |
# |---|---|
# | `x` | **y** |
# %%
import numpy as np

print(np.eye(2) < 1)
# %% [markdown]
# - one
# - two
"""


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    root = tmp_path_factory.mktemp("repository")
    (root / "tutorials").mkdir()
    (root / "tutorials" / "01_attention.py").write_text(LESSON, encoding="utf-8")
    (root / "tutorials" / "02_more.py").write_text("# %% [markdown]\n# # More\n", encoding="utf-8")
    out = root / "site"
    write_site(out, root)
    return out


class Page(HTMLParser):
    """Addresses, ids and lines of source of a page; complains of tags that are not closed."""

    def __init__(self, text):
        super().__init__()
        self.open, self.addresses, self.ids, self.images = [], [], [], []
        self.feed(text)
        assert not self.open, self.open

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        if tag not in ("meta", "link", "br", "img", "rect", "path"):
            self.open.append(tag)
        self.addresses += [attributes["href"]] if "href" in attributes else []
        self.images += [attributes["src"]] if "src" in attributes else []
        self.ids += [attributes["id"]] if "id" in attributes else []

    def handle_endtag(self, tag):
        if tag in ("rect", "path"):
            return
        assert self.open.pop() == tag, f"</{tag}> closes something else"

    def handle_startendtag(self, tag, attributes):
        pass


@pytest.fixture(scope="module")
def pages(site):
    return {path.relative_to(site).as_posix(): Page(path.read_text(encoding="utf-8")) for path in site.rglob("*.html")}


def test_every_source_has_a_page_and_the_front_page_leads_to_it(site, pages):
    wanted = [*PACKAGE.glob("models/*.py"), *PACKAGE.glob("ops/*"), PACKAGE / "masks.py", PACKAGE / "tensor.py"]
    wanted = [path for path in wanted if path.suffix in (".py", ".cu", ".cuh")]
    assert any(path.suffix == ".cu" for path in wanted)
    for path in wanted:
        if path.read_text(encoding="utf-8").strip():
            place = f"{short(path)}.html"
            assert place in pages and place in pages["index.html"].addresses
    front = pages["index.html"].addresses
    order = [front.index(f"minivl/{name}.html") for name in ORDER]
    assert order == sorted(order)


def test_every_link_leads_to_a_page_and_to_a_place_in_it(site, pages):
    for place, page in pages.items():
        assert len(page.ids) == len(set(page.ids)), place
        for address in page.addresses:
            if address.startswith("data:"):
                continue
            assert not re.match(r"[a-z]+:", address), f"{place} leads out of the site: {address}"
            file, _, anchor = address.partition("#")
            target = (site / place).parent / file if file else site / place
            assert target.resolve().is_file(), f"{place} leads to {address}"
            if anchor:
                inside = pages[target.resolve().relative_to(site.resolve()).as_posix()]
                assert anchor in inside.ids, f"{place} leads to {address}"
        assert all(not re.match(r"[a-z]+:", image) for image in page.images)


@pytest.mark.parametrize("name", ["ops/attention.py", "ops/layernorm.cu", "models/coca.py", "tensor.py", "masks.py"])
def test_the_code_is_the_file_line_by_line(site, name):
    text = (site / f"minivl/{name}.html").read_text(encoding="utf-8")
    lines = (PACKAGE / name).read_text(encoding="utf-8").splitlines()
    pattern = r'id="L(\d+)"><a class="no" href="#L\1">\1</a><span>(.*?)</span></span>(?=<span class="l"|</pre>)'
    shown = [(int(n), html.unescape(re.sub(r"<[^>]*>", "", code))) for n, code in re.findall(pattern, text)]
    assert len(shown) > 0.2 * len(lines)
    assert [n for n, _ in shown] == sorted({n for n, _ in shown}), "each line once, in order"
    for number, code in shown:
        assert code.rstrip() == lines[number - 1].rstrip()
    words = html.unescape(re.sub(r"<[^>]*>", " ", text))
    missing = set(range(1, len(lines) + 1)) - {n for n, _ in shown}
    for number in missing:  # what is not code is words: a comment or a docstring
        said = re.findall(r"\w{5,}", lines[number - 1])
        step = lines[number - 1].lstrip().startswith("#:")
        assert step or "minivl:" in lines[number - 1] or all(word in words for word in said), lines[number - 1]


def test_each_named_step_stands_beside_its_lines_with_its_formula():
    for path in (PACKAGE / "models" / "coca.py", PACKAGE / "ops" / "attention.py"):
        _, sections = side_by_side.python_sections(path)
        for step in named_steps(path):
            section = next(section for section in sections if step.first in section.lines)
            assert section.lines[0] == step.first and "<math" in section.words


def test_names_lead_to_their_definitions():
    coca = PACKAGE / "models" / "coca.py"
    lines = coca.read_text(encoding="utf-8").splitlines()
    found = links(coca)

    def leads(text, name):
        line = next(i for i, one in enumerate(lines, 1) if text in one)
        return found.get((line, lines[line - 1].index(name, lines[line - 1].index(text))))

    def defined(file, sign):
        return next(
            i for i, line in enumerate(file.read_text(encoding="utf-8").splitlines(), 1) if line.startswith(sign)
        )

    losses, pooler = PACKAGE / "losses.py", PACKAGE / "nn" / "transformer.py"
    assert leads("contrastive_loss(", "contrastive_loss") == (losses, defined(losses, "def contrastive_loss"))
    assert leads("nn.AttentionalPooler(c.", "AttentionalPooler") == (pooler, defined(pooler, "class AttentionalPooler"))
    assert leads("ops.normalize(self.contr", "normalize")[0] == PACKAGE / "ops" / "normalize.py"
    assert leads("masks.causal(T) &", "causal")[0] == PACKAGE / "masks.py"
    assert leads("self.read(", "read") == (coca, defined(coca, "    def read"))
    assert leads("import generate, masks", "masks") == (PACKAGE / "masks.py", 1)
    assert leads("import numpy", "numpy") is None
    assert definition(PACKAGE / "ops" / "__init__.py", "cross_entropy")[0] == PACKAGE / "ops" / "cross_entropy.py"


# ---- the atlas -------------------------------------------------------------------------------------------------------


def test_every_mask_is_drawn_and_the_drawing_is_the_functions_own(site):
    text = (site / "masks.html").read_text(encoding="utf-8")
    assert set(atlas.functions()) >= {"causal", "padding", "prefix", "block", "class_token_last", "bidirectional"}
    for name in atlas.functions():
        examples = atlas.examples(name)
        assert examples, f"{name}: its docstring draws no example"
        for call, mask in examples:
            assert html.escape(call) in text
            drawn = atlas.drawing(mask, call)
            squares = re.findall(r'class="(may|not)"', drawn)
            np.testing.assert_array_equal(np.array(squares) == "may", np.asarray(mask).reshape(-1))
            assert drawn.count("<path") == squares.count("not"), "what is forbidden is crossed out, not only coloured"
    mask, places = atlas.together()['masks.causal(T) & masks.padding(batch["lengths"], T)']
    np.testing.assert_array_equal(mask[0, 0], masks.causal(6) & (np.arange(6) < 4))
    assert {short(file) for file, _ in places} == {"minivl/models/coca.py"}


def test_eleven_papers_stand_side_by_side_drawn_from_their_gradients(site, monkeypatch):
    text = (site / "masks.html").read_text(encoding="utf-8")
    papers = re.findall(r'<section class="paper".*?</section>', text, flags=re.DOTALL)
    assert [re.search(r"<h3>(.*?) <small>", one)[1] for one in papers] == list(mask_atlas.PAPERS)
    figures = [figure for one in papers for figure in re.findall(r"<figure>.*?</figure>", one, flags=re.DOTALL)]
    assert len(figures) == len(mask_atlas.PLATES)
    for figure, plate in zip(figures, mask_atlas.PLATES, strict=True):
        squares = re.findall(r'<rect class="(may|not)"', figure)
        np.testing.assert_array_equal(np.array(squares) == "may", plate.mask.reshape(-1))
        assert "".join(re.findall(r"<text [^>]*>(.)</text>", figure)) == plate.rows + plate.columns
        assert html.escape(plate.why, quote=False) in figure
    for name in mask_atlas.PAPERS:
        assert f'href="#{atlas.slug(name)}"' in text and f'id="{atlas.slug(name)}"' in text
    leak = mask_atlas.reach(np.ones((5, 5), bool))  # what a layer without its mask would give
    monkeypatch.setattr(mask_atlas, "reach", lambda mask: leak)
    with pytest.raises(ValueError, match="the gradients of CLIP, text, are not what its mask allows"):
        atlas.paper("CLIP", lambda *place: "")


# ---- tutorials -------------------------------------------------------------------------------------------------------


def test_a_tutorial_is_cut_into_its_cells():
    kinds = [(kind, line) for kind, _, line in tutorial.cells(LESSON)]
    assert kinds == [("markdown", 2), ("code", 9), ("markdown", 13)]
    assert tutorial.title(LESSON, None) == "Attention by hand"


def test_a_tutorial_is_set_with_formulas_links_and_its_own_line_numbers(site):
    text = (site / "tutorials" / "01_attention.html").read_text(encoding="utf-8")
    assert "<h1>Attention by hand</h1>" in text and "<math>" in text and "<td><strong>y</strong></td>" in text
    assert 'href="../minivl/ops/attention.py.html#L20"' in text and 'href="02_more.html"' in text
    assert 'id="L11"' in text and "<li>two</li>" in text
    assert 'href="tutorials/01_attention.html"' in (site / "index.html").read_text(encoding="utf-8")


def test_what_a_tutorial_drew_stands_below_its_cell_and_what_it_did_not_draw_is_not_missed(tmp_path):
    folder = tmp_path / "tutorials"
    (folder / "out").mkdir(parents=True)
    source = "# %% [markdown]\n# # One\n# **Goal.** To see\n# it.\n# **Time.** None.\n"
    source += '# %%\nshow(a, "01_seen")\nshow(b, "01_not")\n'
    (folder / "01_one.py").write_text(source, encoding="utf-8")
    (folder / "02_two.py").write_text("# %% [markdown]\n# # Two\n", encoding="utf-8")
    Image.new("RGB", (3, 2)).save(folder / "out" / "01_seen.png")
    made = Site(tmp_path / "site", tmp_path)
    made.files = []
    made.write()
    text = (tmp_path / "site" / "tutorials" / "01_one.html").read_text(encoding="utf-8")
    assert re.findall(r"<img [^>]*>", text) == ['<img src="01_seen.png" alt="what this cell draws: seen">']
    assert (tmp_path / "site" / "tutorials" / "01_seen.png").is_file()
    assert 'next: <a href="02_two.html">Two</a>' in text
    assert "<p><strong>Goal.</strong> To see\nit.</p><p><strong>Time.</strong> None.</p>" in text, "each on its own"


def test_what_the_compiler_is_told_of_a_kernel_is_a_list_and_no_prose(tmp_path):
    path = tmp_path / "k.cu"
    path.write_text(
        "// k.cu: it does.\n// dtypes: float32 float64\n// archs: sm_90a\n// And more.\nint i;\n", encoding="utf-8"
    )
    head, _ = side_by_side.cuda_sections(path)
    assert head == "k.cu: it does.\nAnd more.\n\ndtypes    float32 float64\narchs     sm_90a"


def test_without_tutorials_there_is_a_site_all_the_same(tmp_path):
    site = Site(tmp_path / "site", tmp_path)
    site.files = []
    site.write()
    assert "Tutorials" not in (tmp_path / "site" / "index.html").read_text(encoding="utf-8")


# ---- prose and highlighting ------------------------------------------------------------------------------------------


def test_docstrings_have_paragraphs_lists_and_drawings():
    text = textwrap.dedent("""\
        y = x^2.   x (..., C) -> y

        x       (B, T, C), who
                asks
        mask    boolean

        causal(2)    x .
                     x x""")
    shown = prose.docstring(text)
    assert "<p>y = x^2. <span class=apart>x (..., C) -&gt; y</span></p>" in shown
    assert "<dt>x</dt><dd>(B, T, C), who asks</dd><dt>mask</dt><dd>boolean</dd>" in shown
    assert ">causal(2)    x .\n             x x</pre>" in shown


def test_prose_cannot_bring_markup_of_its_own():
    assert "<script" not in prose.docstring("a <script> b") + prose.markdown("a <script> `<b>`")
    assert prose.inline("`<b>` & *c*") == "<code>&lt;b&gt;</code> &amp; <em>c</em>"


def test_highlighting_changes_nothing_but_colour():
    source = 'def f(x):\n    """Doc\n    string"""\n    return f"{x!r:>{3}} {{}}" + \'<a>\'  # why\n'
    lines = [html.unescape(re.sub(r"<[^>]*>", "", line)) for line in highlight.python(source)]
    assert lines == source.splitlines()
    source = '#define T float\n__global__ void k(const T* x) {  // a "b"\n  x[0] < 1.5f; /* c\n d */ }\n'
    lines = [html.unescape(re.sub(r"<[^>]*>", "", line)) for line in highlight.cuda(source)]
    assert lines == source.splitlines()


# ---- in a browser ----------------------------------------------------------------------------------------------------


@pytest.mark.browser
@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_in_a_browser_nothing_is_fetched_nothing_sticks_out_and_nobody_is_left_out(site, chromium, axe, dark):
    complaints = []
    places = ["index.html", "masks.html", "minivl/models/coca.py.html", "minivl/ops/attention.cu.html"]
    places += ["minivl/tensor.py.html", "tutorials/01_attention.html"]
    for width in (360, 1400):
        scheme = "dark" if dark else "light"
        context = chromium.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme, offline=True)
        page = context.new_page()
        page.on("console", lambda m: complaints.append(m.text) if m.type in ("error", "warning") else None)
        page.on("request", lambda r: None if r.url.startswith(("file:", "data:")) else complaints.append(r.url))
        for place in places:
            page.goto(f"file://{site / place}")
            over = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
            assert over <= 0, f"{place} is {over} pixels too wide at {width}"
            page.evaluate(axe)
            found = page.evaluate(
                "axe.run(document, {resultTypes: ['violations'], preload: false}).then(r => r.violations)"
            )
            assert not found, [(place, v["id"], [n["html"][:200] for n in v["nodes"][:3]]) for v in found]
        context.close()
    assert complaints == []
