"""The full CLIP ViT-B/32, 605 MB of weights, on a CPU: loading it, one picture with one text, and the memory, beside
PyTorch's. python tests/bench/published.py [FOLDER]

FOLDER  model.safetensors and config.json as Hugging Face has openai/clip-vit-base-patch32. Without it random weights of
        the same shapes are written for the occasion: they take as long, and the two must still agree.

PyTorch computes with transformers' CLIPModel (extra `peers`). Each engine has a process of its own; they take turns.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parents[1])]
ROUNDS = 9


def inputs():
    random = np.random.default_rng(0)
    text = np.zeros((1, 77), np.int64)
    text[0, :7] = [49406, 320, 1125, 539, 320, 2368, 49407]  # a photo of a cat
    return random.standard_normal((1, 3, 224, 224), dtype=np.float32), text


def with_minivl(folder):
    from minivl import load_pretrained, no_grad
    from minivl.array import keep_freed_memory

    keep_freed_memory()
    model = load_pretrained(folder, "clip")
    image, text = inputs()
    lengths = np.array([7])

    def pair():
        with no_grad():
            return model.encode_image(image).numpy(), model.encode_text(text, lengths).numpy()

    return pair


def with_torch(folder):
    import torch
    from transformers import CLIPModel

    torch.set_num_threads(len(os.sched_getaffinity(0)))
    model = CLIPModel.from_pretrained(folder, dtype=torch.float32).eval()
    image, text = (torch.from_numpy(a) for a in inputs())

    def pair():
        with torch.inference_mode():
            out = model(input_ids=text, pixel_values=image)
            return out.image_embeds.numpy(), out.text_embeds.numpy()

    return pair


def write_random(folder):
    """The published size, which is transformers' default, with the end token that is looked for."""
    import torch
    from transformers import CLIPConfig, CLIPModel

    torch.manual_seed(0)
    CLIPModel(CLIPConfig(text_config={"eos_token_id": 49407, "bos_token_id": 49406})).save_pretrained(folder)


def serve(name, folder):
    """Loads, then answers each line with the time of one pair; the last answer is the peak of memory."""
    from engines import peak

    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    begin = time.perf_counter()
    pair = {"minivl": with_minivl, "PyTorch": with_torch}[name](folder)
    results = [r.ravel().tolist() for r in pair()]
    first = time.perf_counter() - begin
    print(json.dumps({"first": first, "results": results}), file=answers, flush=True)
    for _ in sys.stdin:
        begin = time.perf_counter()
        pair()
        print(json.dumps({"time": time.perf_counter() - begin, "peak": peak()}), file=answers, flush=True)


def measure(folder):
    from engines import environment

    command = [sys.executable, str(HERE / "published.py"), str(folder), "--serve"]
    processes = {
        name: subprocess.Popen(
            [*command, name], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment()
        )
        for name in ("minivl", "PyTorch")
    }
    told = {name: json.loads(p.stdout.readline()) for name, p in processes.items()}
    for ours, theirs in zip(told["minivl"]["results"], told["PyTorch"]["results"], strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-3, atol=1e-5)
    times, peaks = {name: [] for name in processes}, {}
    for _ in range(ROUNDS):
        for name, p in processes.items():
            print(file=p.stdin, flush=True)
            answer = json.loads(p.stdout.readline())
            times[name].append(answer["time"])
            peaks[name] = answer["peak"]
    for p in processes.values():
        p.stdin.close()
        p.wait()
    print("| CLIP ViT-B/32 | minivl | PyTorch | ratio |\n| --- | ---: | ---: | ---: |")
    rows = [
        ("one picture and one text, median of nine, ms", {n: 1e3 * statistics.median(t) for n, t in times.items()}),
        ("imports, weights and the first pair, s", {n: t["first"] for n, t in told.items()}),
        ("peak memory of the process, MB", {n: peak / 1e6 for n, peak in peaks.items()}),
    ]
    for label, of in rows:
        print(f"| {label} | {of['minivl']:.3g} | {of['PyTorch']:.3g} | {of['minivl'] / of['PyTorch']:.2f} |")


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folder", nargs="?", type=Path, help="as Hugging Face has openai/clip-vit-base-patch32")
    parser.add_argument("--serve", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        serve(options.serve, options.folder)
    elif options.folder:
        measure(options.folder)
    else:
        with tempfile.TemporaryDirectory() as folder:
            write = f"import published; published.write_random({folder!r})"
            subprocess.run([sys.executable, "-c", write], cwd=HERE, check=True)
            measure(folder)


if __name__ == "__main__":
    main()
