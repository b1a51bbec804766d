"""A miniature of VSP in Mirage's form: lakes drawn cell by cell."""

import json
from pathlib import Path

import numpy as np
from PIL import Image

PROMPT = (
    "<image>\nFind a way over the ice from start to goal with L, R, U and D. "
    "The final answer MUST BE put in \\boxed{}."
)
# Several levels may have maps of one number.
MAPS = {
    ("level3", "31"): [[1, 0, 0], [-1, -1, 0], [2, 0, 0]],
    ("level3", "32"): [[0, 0, 2], [0, -1, -1], [1, 0, 0]],
    ("level4", "31"): [[1, 0, 0, 0], [-1, -1, -1, 0], [0, 0, 0, 0], [0, -1, 2, -1]],
    # No way, no start, two goals, and no rectangle.
    ("level3", "90"): [[1, -1, 0], [-1, -1, 0], [2, 0, 0]],
    ("level3", "91"): [[0, 0, 0], [0, 0, 0], [2, 0, 0]],
    ("level3", "92"): [[1, 0, 2], [0, 0, 0], [2, 0, 0]],
    ("level3", "93"): [[1, 0, 0], [0, 0], [2, 0, 0]],
}
OUTPUTS = [
    ("The way goes down. \\boxed{D,D,R}", "level3"),
    ("First \\boxed{L}, no: \\boxed{R,R}", "level4"),
    ("Down, down.", "level3"),
    ("\\boxed{no way}", "level3"),
    ("\\boxed{U}", "level5"),
]


def draw(grid: list[list[int]], file: Path) -> None:
    colours = {0: (200, 230, 255), 1: (0, 160, 0), 2: (220, 0, 0), -1: (20, 20, 60)}
    cells = np.array([[colours[cell] for cell in (*row, *[0] * 4)[: len(grid)]] for row in grid], np.uint8)
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(cells.repeat(8, axis=0).repeat(8, axis=1)).save(file)


def write(folder: Path, written: str = "./data/vsp_spatial_planning/") -> None:
    """Write the set's own folder; image names begin at the repository's."""
    test, train = [], []
    for (level, number), grid in MAPS.items():
        name = f"imgs_test/{level}/img/{number}.png"
        draw(grid, folder / name)
        row = {"text_input": PROMPT, "image_input": written + name, "map_id": number, "map_desc": grid}
        test.append(row)
    for k, (output, level) in enumerate(OUTPUTS):
        name = f"imgs_train/{level}/img/{k}.png"
        if level != "level5":
            draw(MAPS["level3", "31"], folder / name)
        row = {
            "text_input": PROMPT,
            "text_output": output,
            "image_input": written + name,
            "image_output": name,
        }
        train.append(row)
    for split, rows in (("train", train), ("test", test)):
        text = "".join(json.dumps(row) + "\n" for row in rows)
        (folder / f"{split}_direct.jsonl").write_text(text)
