"""Writes a package `vlmeval` with the part of VLMEvalKit's interface that a model and its launcher meet.

VLMEvalKit is on no package index, so that tests cannot install it. This stands for its documented behaviour:
images reach a model as paths, a model that does not interleave gets none but the first, data sets are TSV
files in the folder $LMUData, and predictions that are there already are taken as they are.
"""

from __future__ import annotations

from pathlib import Path

FILES = {
    "__init__.py": "",
    "vlm/__init__.py": "",
    "vlm/base.py": """
class BaseModel:
    INTERLEAVE = False
    allowed_types = ["text", "image", "video"]

    def __init__(self):
        self.dump_image_func = None

    def set_dump_image(self, function):
        self.dump_image_func = function

    def generate(self, message, dataset=None):
        for part in message:
            assert part["type"] in self.allowed_types, part
        if not self.INTERLEAVE:
            message = [part for part in message if part["type"] == "image"][:1] + message[-1:]
        return self.generate_inner(message, dataset)
""",
    "config.py": "supported_VLM = {}\n",
    "smp.py": """
def get_pred_file_path(work_dir, model_name, dataset_name, use_env_format=True):
    return f"{work_dir}/{model_name}_{dataset_name}.json"
""",
    "dataset.py": """
import ast, base64, json, os
from pathlib import Path
import pandas


class OwnDataset:
    def __init__(self, name):
        self.dataset_name, self.root = name, Path(os.environ["LMUData"])
        self.data = pandas.read_csv(self.root / f"{name}.tsv", sep="\\t")

    def dump_image(self, line):
        lists = [ast.literal_eval(t) if t[0] == "[" else [t] for t in (line["image"], line["image_path"])]
        paths = []
        for text, name in zip(*lists, strict=True):
            (self.root / name).write_bytes(base64.b64decode(text))
            paths.append(str(self.root / name))
        return paths

    def build_prompt(self, line):
        options = "".join(f"{c}. {line[c]}\\n" for c in "ABCD" if c in line and not pandas.isna(line[c]))
        text = f"Question: {line['question']}\\nOptions:\\n{options}"
        return [dict(type="image", value=p) for p in self.dump_image(line)] + [dict(type="text", value=text)]

    def evaluate(self, file, model=None, nproc=4):
        made = json.loads(Path(file).read_text())
        hits = [made[str(i)] == a for i, a in zip(self.data["index"], self.data["answer"], strict=True)]
        return {"judge": model, "Overall": sum(hits) / len(hits)}


def build_dataset(name):
    return OwnDataset(name) if (Path(os.environ["LMUData"]) / f"{name}.tsv").is_file() else None
""",
    "inference.py": """
import json
from pathlib import Path
from vlmeval.smp import get_pred_file_path


def infer_data_job(model, work_dir, model_name, dataset, verbose=False, api_nproc=4):
    file = Path(get_pred_file_path(work_dir, model_name, dataset.dataset_name))
    if file.is_file():
        return model
    model.set_dump_image(dataset.dump_image)
    made = {}
    for _, line in dataset.data.iterrows():
        made[str(line["index"])] = model.generate(dataset.build_prompt(line), dataset.dataset_name)
    file.write_text(json.dumps(made))
    return model
""",
}


def write(root: Path) -> None:
    """Write the package below a folder of the import path."""
    for name, text in FILES.items():
        file = root / "vlmeval" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
