"""A benchmark in batches against one by one: records per second of `latentvr eval --bench` on BLINK's form.

Run: python benchmarks/evaluation.py [--checkpoint tiny-qwen2.5-vl] [--rows 200] [--batches 1 8 32] [--new 16]

The rows are made here: one to four pictures of several sizes, questions of several lengths. Processor time of
the whole call after the model is loaded: opening pictures, vision tower, decoding, scoring, writing.
"""

from __future__ import annotations

import argparse
import io
import platform
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from PIL import Image

from latentvr.config.schema import DataConfig, DecodeConfig, EvalConfig, Recipe
from latentvr.evaluation.benchmarks.registry import find
from latentvr.evaluation.kept import Kept
from latentvr.runs.benchmarks import Asked
from latentvr.runs.evaluate import answer_source, write_results
from latentvr.runs.inference import load_checkpoint

TASKS = ("Jigsaw", "Counting", "Visual_Similarity", "Semantic_Correspondence")
QUESTIONS = ("how many of them ?", "which of the latter images is most like the first one ?", "what is it ?")


def _picture(rng: np.random.Generator) -> dict[str, bytes]:
    width, height = (int(side) for side in rng.choice([56, 84, 112, 168], 2))
    out = io.BytesIO()
    Image.fromarray(rng.integers(0, 256, (height, width, 3), dtype=np.uint8)).save(out, format="PNG")
    return {"bytes": out.getvalue()}


def _row(i: int, rng: np.random.Generator) -> dict[str, object]:
    choices = [str(n) for n in range(2 + i % 3)]
    question = " ".join(rng.choice(QUESTIONS, 1 + i % 3))
    options = "\n".join(f"({letter}) {text}" for letter, text in zip("ABCD", choices, strict=False))
    images = [_picture(rng) for _ in range(1 + i % 4)]
    return {
        "idx": f"val_{TASKS[i % 4]}_{i}", "sub_task": TASKS[i % 4], "question": question, "choices": choices,
        **{f"image_{k + 1}": images[k] if k < len(images) else None for k in range(4)},
        "answer": f"({'ABCD'[int(rng.integers(len(choices)))]})", "prompt": f"{question}\n{options}",
        "explanation": "",
    }  # fmt: skip


def main() -> None:
    """Write the rows, answer them at each batch size, print a line for each."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--checkpoint", type=Path, default=Path("tiny-qwen2.5-vl"))
    parser.add_argument("--rows", type=int, default=200)
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 8, 32])
    parser.add_argument("--new", type=int, default=16)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    rng = np.random.default_rng(0)
    print(f"{platform.processor() or platform.machine()}, one thread, torch {torch.__version__}")
    print(f"\n| batch | seconds for {asked.rows} records | records/s | against batch {asked.batches[0]} |")
    print("|--:|--:|--:|--:|")
    model = load_checkpoint(asked.checkpoint, "cpu")
    benchmark = find("blink")
    style = benchmark.style("native")
    first, scored = 0.0, []
    with tempfile.TemporaryDirectory() as root:
        file = Path(root) / "blink.parquet"
        pq.write_table(pa.Table.from_pylist([_row(i, rng) for i in range(asked.rows)]), file)
        source = Asked(benchmark.load(file), style, DataConfig())
        for batch in asked.batches:
            recipe = Recipe(decode=DecodeConfig(max_new_tokens=asked.new), eval=EvalConfig(batch_size=batch))
            begin = time.process_time()
            kept = Kept(Path(root) / str(batch), {})
            made = answer_source(model, source, recipe, kept, {}, style.rule_of)
            write_results(replace(made, measures=tuple(benchmark.measures(source.whole, made.predictions))))
            seconds = time.process_time() - begin
            first = first or seconds
            scored.append([prediction.text for prediction in made.predictions])
            print(
                f"| {batch} | {seconds:.1f} | {asked.rows / seconds:.1f} | {first / seconds:.2f} |",
                flush=True,
            )
    same = sum(len(set(texts)) == 1 for texts in zip(*scored, strict=True))
    print(f"\n{same} of {asked.rows} answers are the same at every batch size")


if __name__ == "__main__":
    main()
