"""What a user can get wrong at the command line: exit code 2 and one exact sentence, never a traceback."""
# ruff: noqa: E501  (messages stand here as they are printed)

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

TINY = ["model.path=tiny-qwen2.5-vl", "model.dtype=float32", "train.keep=last"]
SHORT = ["stages.bottleneck.steps=1", "stages.causal.steps=1", "data.feature_cache=off", "optim.trainable=lora",
         "data.toy.train=4", "data.toy.validation=2", "data.toy.test=2", "train.batch_size=2", "model.path=tiny-qwen2.5-vl"]  # fmt: skip
RECORD = {"id": "a", "task": "t", "split": "train", "images": ["x.png"], "question": "how many ?", "choices": [],
          "prompt": "how many ?", "answer": "3", "answer_type": "text", "bboxes": [], "meta": {}}  # fmt: skip


def record(**changes: Any) -> str:
    return json.dumps({**RECORD, **changes}) + "\n"


@pytest.fixture(scope="module")
def folder(latentvr: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder F with images, records and a trained run, to be spoilt."""
    root = tmp_path_factory.mktemp("input")
    done = latentvr("train", "tests/e2e/tiny.yaml", *SHORT, f"train.output_dir={root}/run")
    assert done.code == 0, done.err
    Image.new("RGB", (64, 64), "red").save(root / "x.png")
    (root / "good.jsonl").write_text(record())
    (root / "empty.jsonl").write_text("")
    (root / "control.jsonl").write_text(record(prompt="say <|im_end|>", question="say <|im_end|>"))
    (root / "latent.jsonl").write_text(record(answer="<|image_pad|>"))
    for name, box in (
        ("flat", [0.2, 0.2, 0.2, 0.4]),
        ("beyond", [0.2, 0.2, 1.4, 0.4]),
        ("boxed", [0, 0, 0.5, 0.5]),
    ):
        (root / f"{name}.jsonl").write_text(record(bboxes=[{"image": 0, "box": box}]))
    twice = "<lvr> and <lvr> <answer> 3 </answer>"
    turns = [{"from": "human", "value": "<image>\nhow many ?"}, {"from": "gpt", "value": twice}]
    row = {"id": "a", "image": "x.png", "conversations": turns, "bboxes": [[0, 0, 0.5, 0.5]]}
    (root / "marked.json").write_text(json.dumps([row]))
    (root / "missing_image.jsonl").write_text(record(images=["no.png"]))
    (root / "outside.jsonl").write_text(record(images=["../x.png"]))
    (root / "marks.jsonl").write_text(record(prompt="<image> and <image>"))
    (root / "broken.jsonl").write_text(record() + "{nonsense\n")
    (root / "no_answer.jsonl").write_text(
        json.dumps({k: v for k, v in RECORD.items() if k != "answer"}) + "\n"
    )
    (root / "png.txt").write_text("no image")
    shutil.copy(root / "png.txt", root / "text.png")
    (root / "text.jsonl").write_text(record(images=["text.png"]))
    (root / "zero.png").write_bytes(b"")
    (root / "zero.jsonl").write_text(record(images=["zero.png"]))
    (root / "cut.png").write_bytes((root / "x.png").read_bytes()[:60])
    (root / "cut.jsonl").write_text(record(images=["cut.png"]))
    Image.new("RGB", (64, 64)).save(
        root / "moving.gif", save_all=True, append_images=[Image.new("RGB", (64, 64), "red")]
    )
    (root / "moving.jsonl").write_text(record(images=["moving.gif"]))
    (root / "bare").mkdir()
    (root / "bare" / "config.json").write_text('{"model_type": "qwen2_5_vl"}')
    (root / "other").mkdir()
    (root / "other" / "config.json").write_text('{"model_type": "bert"}')
    (root / "full").mkdir()
    (root / "full" / "thesis.doc").write_text("years of work")
    (root / "file").write_text("")
    (root / "half").mkdir()
    (root / "no_checkpoints" / "checkpoints").mkdir(parents=True)
    for name, damage in DAMAGE.items():
        shutil.copytree(root / "run" / "checkpoints" / "step-2", root / name)
        damage(root / name)
    return root


def cut(name: str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).write_bytes((folder / name).read_bytes()[:-4])  # type: ignore[func-returns-value]


DAMAGE: dict[str, Callable[[Path], Any]] = {
    "cut_weights": cut("adapter_model.safetensors"),
    "no_marker": lambda folder: (folder / "complete.json").unlink(),
    "no_tokenizer": lambda folder: (folder / "tokenizer.json").unlink(),
    "other_card": lambda folder: (folder / "latentvr.json").write_text('{"format": 99}'),
}

RL = ["rl", "tests/e2e/tiny.yaml", "train.batch_size=8", "train.output_dir=N/new"]
TRAIN = ["train", "tests/e2e/tiny.yaml"]
SPANS = [
    "train",
    "recipes/lvr_tiny.yaml",
    "model.path=tiny-qwen2.5-vl",
    "data.source=records",
    "data.tasks=[]",
    "data.feature_cache=off",
    "train.keep=last",
    "train.output_dir=N/new",
]
RECORDS = [
    *TRAIN,
    *TINY,
    "data.source=records",
    "data.feature_cache=off",
    "data.tasks=[]",
    "train.output_dir=N/new",
]

CASES: list[tuple[list[str], str]] = [
    # recipes
    (
        [*TRAIN, "reasoner.name=lirv"],
        "error: command line reasoner.name: expected a reasoner of NAMES, got 'lirv'; did you mean livr?",
    ),
    (
        [*TRAIN, "stages.causal.visibility=blind"],
        "error: command line stages.causal.visibility: expected a visibility of causal, bottleneck, answer_only, bottleneck_blind_latents, got 'blind'; fix: use one of these",
    ),
    (
        [*TRAIN, "model.attention=flash_attention_2"],
        "error: command line model.attention: expected one of auto, two_pass, varlen, mask, flex, got 'flash_attention_2'; fix: use one of these",
    ),
    (
        [*TRAIN, "model.dtype=float16", "train.device=cpu"],
        "error: command line model.dtype: expected float32 or bfloat16 on the CPU, got float16; fix: set model.dtype=float32",
    ),
    (
        [*TRAIN, "data.source=records", "data.train=F/good.jsonl"],
        "error: default train.keep: expected validation data for 'best', got none; fix: set data.validation, or train.keep=last",
    ),
    (
        [*TRAIN, "train.output_dir=F/full"],
        "error: command line train.output_dir: expected an empty folder or a run folder, got other files at F/full; fix: choose another",
    ),
    (
        [*TRAIN, "train.output_dir=F/file"],
        "error: command line train.output_dir: expected a folder, got a file at F/file; fix: choose another name",
    ),
    (
        [*TRAIN, "train.output_dir=F/run"],
        "error: expected an empty or new run folder, got files, at train.output_dir=F/run; fix: add --resume to go on with it, or choose another train.output_dir",
    ),
    (
        [*TRAIN, "--resume", "train.output_dir=N/new"],
        "error: expected a run to resume, got none, at train.output_dir=N/new; fix: leave out --resume, or give the folder of the run",
    ),
    (
        [*TRAIN, *SHORT, "--resume", "train.output_dir=F/run", "optim.learning_rate=0.5"],
        "error: expected optim.learning_rate=0.001 as in the run that is resumed, got 0.5, at F/run/resolved.yaml; fix: resume with the same recipe and overrides, or start a new run folder",
    ),
    (
        [
            *TRAIN,
            "stages.bottleneck.trainable=language",
            "stages.causal.trainable=lora",
            "train.output_dir=N/new",
        ],
        "error: command line stages.causal.trainable: expected language or all after a stage that trains the language model, got lora; fix: set it to language, or move the stage before the other",
    ),
    # latent spans
    (
        [*SPANS, "data.train=F/good.jsonl"],
        'error: expected bboxes of the regions that latent slots stand for, got none, at good.jsonl row 1; fix: add "bboxes" to the record, or set reasoner.boxless=plain where the method has it',
    ),
    (
        [*SPANS, "data.train=F/flat.jsonl"],
        "error: expected a box with 0 <= x0 < x1 <= 1 and 0 <= y0 < y1 <= 1, got [0.2, 0.2, 0.2, 0.4], at flat.jsonl row 1; fix: divide pixels by width and height, and order the corners",
    ),
    (
        [*SPANS, "data.train=F/beyond.jsonl"],
        "error: expected a box with 0 <= x0 < x1 <= 1 and 0 <= y0 < y1 <= 1, got [0.2, 0.2, 1.4, 0.4], at beyond.jsonl row 1; fix: divide pixels by width and height, and order the corners",
    ),
    (
        [*SPANS, "data.train=F/marked.json"],
        "error: expected one <lvr> in the response for each box, got 2 for 1 boxes, at record 'a'; fix: write as many as there are bboxes",
    ),
    (
        [*SPANS, "data.train=F/boxed.jsonl", "decode.latent_steps=0"],
        "error: command line decode.latent_steps: expected at least 1, got 0; fix: write a number in this range",
    ),
    (
        [*SPANS, "data.train=F/boxed.jsonl", "decode.latent_steps=-2"],
        "error: command line decode.latent_steps: expected at least 1, got -2; fix: write a number in this range",
    ),
    (
        [*SPANS, "data.train=F/boxed.jsonl", "decode.latent_steps=32"],
        "error: command line decode.latent_steps: expected fewer latent steps than decode.max_new_tokens (32), got 32; fix: raise decode.max_new_tokens or lower decode.latent_steps",
    ),
    (
        [*SPANS, "data.train=F/boxed.jsonl", "decode.exit=end_vector"],
        "error: command line decode.exit: expected reasoner.end_vector=true with end_vector, got false; fix: set decode.exit=steps, or train with an end vector",
    ),
    # reinforcement
    (
        [*RL, "rl.num_generatons=4"],
        "error: command line rl.num_generatons: unknown key; did you mean rl.num_generations?",
    ),
    (
        [*RL, "reward_funcs=[accuracy]"],
        "error: command line reward_funcs: unknown key; did you mean rl.rewards?",
    ),
    (
        [*RL, "rl.loss_type=ppo"],
        "error: command line rl.loss_type: expected one of grpo, bnpo, dapo, dr_grpo, got 'ppo'; fix: use one of these",
    ),
    (
        [*RL, "train.batch_size=4"],
        "error: default rl.num_generations: expected whole groups in a buffer of 4 completions (train.batch_size=4 times 1 forward passes), got groups of 8; fix: set rl.steps_per_generation=2, or change rl.num_generations",
    ),
    (
        [*RL, "optim.trainable=lora"],
        "error: default model.lora.dropout: expected 0 in reinforcement, where a replay has to give the log-probabilities of its rollout, got 0.05; fix: set model.lora.dropout=0",
    ),
    (
        [*RL, "--dry-run", "rl.latent_ratio=gaussian"],
        "error: command line rl.latent_ratio: expected none with reasoner 'livr', whose answers open no latent spans, got gaussian; fix: leave the key out",
    ),
    (
        ["rl", "F/none.yaml"],
        "error: expected a recipe file, got …",
    ),
    # records
    (
        [*RECORDS, "data.train=F/none.jsonl"],
        "error: expected a file or folder of records, got none, at F/none.jsonl; fix: check the path",
    ),
    (
        [*RECORDS, "data.train=F/empty.jsonl"],
        "error: expected at least one row, got none, at F/empty.jsonl; fix: check how the file was written",
    ),
    (
        [*RECORDS, "data.train=F/good.jsonl", "data.tasks=[x]"],
        "error: expected records of split train and tasks x, got t (train), at F/good.jsonl; fix: change the split or the tasks",
    ),
    (
        [*RECORDS, "data.train=F/control.jsonl"],
        "error: expected plain text, got the control token '<|im_end|>', at control.jsonl row 1; fix: take it out of the text",
    ),
    (
        [*RECORDS, "data.train=F/latent.jsonl"],
        "error: expected plain text, got the control token '<|image_pad|>', at latent.jsonl row 1; fix: take it out of the text",
    ),
    (
        [*RECORDS, "data.train=F/marks.jsonl"],
        "error: expected 1 <image> marks or none, got 2, at marks.jsonl row 1; fix: write one mark for each image, or none at all",
    ),
    (
        [*RECORDS, "data.train=F/broken.jsonl"],
        "error: expected strict JSON in UTF-8, got Expecting property name enclosed in double quotes: line 1 column 2 (char 1), at broken.jsonl row 2; fix: write the row with a JSON library",
    ),
    (
        [*RECORDS, "data.train=F/no_answer.jsonl"],
        "error: expected keys of a known format (answer with prompt or question; conversations; messages; data_path), got 'id', 'task', 'split', 'images', 'question', 'choices', 'prompt', 'answer_type', 'bboxes', 'meta', at no_answer.jsonl row 1; fix: see docs/data.md",
    ),
    (
        [*RECORDS, "data.train=F/good.jsonl", "data.max_length=8"],
        "error: expected at most 8 tokens, got 39, at record 'a'; fix: raise data.max_length or lower model.max_pixels",
    ),
    (
        ["data", "check", "F/broken.jsonl"],
        "error: expected good rows alone, got 1 problems, at F/broken.jsonl; fix: mend the rows listed above",
    ),
    (
        ["data", "check", "F/none.jsonl"],
        "error: expected a file or folder of records, got none, at F/none.jsonl; fix: check the path",
    ),
    # images
    (
        [*RECORDS, "data.train=F/missing_image.jsonl"],
        "error: expected a file below FOLDER, got no such file, at missing_image.jsonl row 1, image 'no.png'; fix: check the name and data.image_root",
    ),
    (
        [*RECORDS, "data.train=F/outside.jsonl"],
        "error: expected a path relative to the image root, got a \"..\" step, at outside.jsonl row 1, image '../x.png'; fix: name a file below the image root",
    ),
    (
        [*RECORDS, "data.train=F/text.jsonl"],
        "error: expected a JPEG, PNG or WebP image, got another or a damaged file, at text.jsonl row 1, image 'text.png'; fix: convert it",
    ),
    (
        [*RECORDS, "data.train=F/zero.jsonl"],
        "error: expected an image file, got 0 bytes, at zero.jsonl row 1, image 'zero.png'; fix: copy or download the file again",
    ),
    (
        [*RECORDS, "data.train=F/cut.jsonl", "data.workers=2"],  # the loader would put a traceback around it
        "error: expected an undamaged image, got image file is truncated, at cut.jsonl row 1, image 'cut.png'; fix: copy or download it again",
    ),
    (
        [
            *RECORDS,
            "data.train=F/cut.jsonl",
            "data.feature_cache=disk",
            "data.feature_cache_dir=F/cut.png/features",
        ],
        "error: expected a folder that can be written, got: …",
    ),
    (
        [*RECORDS, "data.train=F/cut.jsonl"],
        "error: expected an undamaged image, got image file is truncated, at cut.jsonl row 1, image 'cut.png'; fix: copy or download it again",
    ),
    (
        [*RECORDS, "data.train=F/moving.jsonl"],
        "error: expected a JPEG, PNG or WebP image, got another or a damaged file, at moving.jsonl row 1, image 'moving.gif'; fix: convert it",
    ),
    (
        ["generate", "F/run", "--image", "F/no.png", "how many ?"],
        "error: expected a file below FOLDER, got no such file, at --image F/no.png, image 'no.png'; fix: check the name and data.image_root",
    ),
    # models and checkpoints
    (
        [*TRAIN, "model.path=F/nowhere", "train.output_dir=N/new"],
        "error: expected a model folder or a reachable hub id at model.path, got 'F/nowhere' (…",
    ),
    (
        [*TRAIN, "model.path=F/bare", "train.output_dir=N/new"],
        "error: expected complete weights at model.path, got 'F/bare' (…",
    ),
    ([*TRAIN, "model.path=F/other", "train.output_dir=N/new"], "error: expected a model type of …"),
    (
        ["eval", "F/half", "data.source=toy", "data.toy.test=1"],
        "error: expected a model folder or a reachable hub id at model.path, got 'F/half' (…",
    ),
    (
        ["eval", "F/no_checkpoints"],
        "error: expected a run with checkpoints, got none, at 'F/no_checkpoints'; fix: train first",
    ),
    (
        ["eval", "F/cut_weights"],
        "error: expected a complete checkpoint, got a damaged adapter_model.safetensors, at 'F/cut_weights'; fix: start the run again",
    ),
    (
        ["eval", "F/no_marker"],
        "error: expected a complete checkpoint, got no complete.json, at 'F/no_marker'; fix: start the run again",
    ),
    (
        ["eval", "F/other_card"],
        "error: expected a complete checkpoint, got a damaged latentvr.json, at 'F/other_card'; fix: start the run again",
    ),
    (
        ["generate", "F/no_tokenizer", "--image", "F/x.png", "how many ?"],
        "error: expected a complete checkpoint, got no tokenizer.json, at 'F/no_tokenizer'; fix: start the run again",
    ),
    (
        ["generate", "F/run", "--image", "F/x.png", "<|im_start|>"],
        "error: expected plain text, got the control token '<|im_start|>', at the prompt; fix: take it out of the text",
    ),
]


@pytest.mark.parametrize(("argv", "message"), CASES, ids=[" ".join(argv[-2:]) for argv, _ in CASES])
def test_a_mistake_gives_code_2_and_one_sentence(
    argv: list[str], message: str, latentvr: Any, folder: Path, tmp_path: Path
) -> None:
    from latentvr.reasoners.registry import names

    def filled(text: str) -> str:
        named = text.replace("F/", f"{folder}/").replace("N/", f"{tmp_path}/").replace("FOLDER", str(folder))
        return named.replace("NAMES", ", ".join(names()))

    done = latentvr(*map(filled, argv))
    errors = [line for line in done.err.splitlines() if line.startswith("error: ")]
    start, cut_off, _ = filled(message).partition("…")  # what transformers says is not tested
    assert [error[: len(start)] if cut_off else error for error in errors] == [start], done.err
    assert "Traceback" not in done.err
    assert done.code == 2


def test_a_refused_run_leaves_no_folder_behind(latentvr: Any, folder: Path, tmp_path: Path) -> None:
    for wrong in (
        f"model.path={folder}/bare",
        "data.tasks=[nothing]",
        "data.train=nothing.jsonl data.source=records",
    ):
        latentvr("train", "tests/e2e/tiny.yaml", *wrong.split(), f"train.output_dir={tmp_path}/new")
        assert not (tmp_path / "new").exists()
