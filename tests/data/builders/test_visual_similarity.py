"""The answer is the image that people voted for, whatever the order of columns and of candidates."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from latentvr.data.builders.builder import Rejection, Sample
from latentvr.data.builders.tasks.visual_similarity import VisualSimilarity, VisualSimilarityRules
from latentvr.data.sets import nights
from latentvr.errors import RecordError, UserError

OFF = VisualSimilarityRules(dedup="off")


@pytest.fixture(scope="module")
def textures(make):
    return make("textures")


@pytest.fixture(scope="module")
def triplets(make, textures, tmp_path_factory):
    root = tmp_path_factory.mktemp("nights") / "nights"
    make("nights").write(root, textures)
    return root


def _made(builder: VisualSimilarity, split: str) -> dict[str, Sample | Rejection]:
    listed = builder.candidates(split).candidates
    return {c.key: builder.make(split, c, builder.draws(split, c.key)) for c in listed}


def test_the_answer_is_the_image_that_was_voted_for(make, triplets: Path) -> None:
    by_id = {str(row["id"]): row for row in reversed(make("nights").rows())}
    for split, count in (("train", 8), ("validation", 2)):
        samples = {
            key: one
            for key, one in _made(VisualSimilarity(triplets, OFF, 0), split).items()
            if isinstance(one, Sample)
        }
        assert len(samples) == count
        for key, sample in samples.items():
            reference, first, second = (path.relative_to(triplets).as_posix() for path in sample.images)
            row = by_id[key]
            # right_vote = 1: the right image is the closer one.
            closer = row["right_path"] if row["right_vote"] == 1 else row["left_path"]
            assert reference == row["ref_path"]
            assert {first, second} == {row["left_path"], row["right_path"]}
            assert {"A": first, "B": second}[sample.answer] == closer
            assert sample.meta["votes"] == row["votes"]
            assert sample.choices == ("the second image", "the third image")


def test_candidates_are_shown_in_both_orders(triplets: Path) -> None:
    orders, letters = Counter(), Counter()
    for seed in range(8):
        for one in _made(VisualSimilarity(triplets, OFF, seed), "train").values():
            if isinstance(one, Sample):
                orders[one.images[1].stem[-1]] += 1
                letters[one.meta["closer"], one.answer] += 1
    assert min(orders["0"], orders["1"]) > 20
    assert set(letters) == {("left", "A"), ("left", "B"), ("right", "A"), ("right", "B")}


def test_every_awkward_row_is_counted_under_its_rule(triplets: Path) -> None:
    builder = VisualSimilarity(triplets, OFF, 0)
    assert builder.candidates("train").rejected == {"votes": 2, "undecided": 2, "repeated": 1}
    assert builder.candidates("validation").rejected == {}
    made = _made(builder, "train")
    rejected = {key: one.rule for key, one in made.items() if isinstance(one, Rejection)}
    assert rejected == dict.fromkeys(("44", "45", "46"), "unreadable_image")


def test_rows_of_the_test_are_in_no_split(triplets: Path) -> None:
    builder = VisualSimilarity(triplets, OFF, 0)
    keys = {split: {c.key for c in builder.candidates(split).candidates} for split in builder.splits}
    assert keys["validation"] == {"20", "1021"}
    assert "30" not in keys["train"] | keys["validation"]
    assert not keys["train"] & keys["validation"]


@pytest.mark.parametrize(("least", "kept"), [(4, {"40", "41"}), (5, {"41"}), (6, set())])
def test_the_bound_on_votes_is_inclusive(triplets: Path, least: int, kept: set[str]) -> None:
    builder = VisualSimilarity(triplets, VisualSimilarityRules(dedup="off", min_votes=least), 0)
    assert {c.key for c in builder.candidates("train").candidates} & {"40", "41"} == kept


def test_columns_are_found_by_name_or_else_by_place(make, textures, tmp_path: Path) -> None:
    maker = make("nights")
    official = maker.HEADER[:9]
    ways = {
        "official": (official, official),
        "other order": (official[::-1], official[::-1]),
        "other names": (tuple(f"c{k}" for k in range(9)), official),
        "some names": ((*official[:4], "ref", "left", "right", *official[7:]), official),
        "no header": (None, official),
    }
    read = {}
    for name, (header, columns) in ways.items():
        maker.write(tmp_path / name, textures, header, columns)
        root = tmp_path / name
        read[name] = [
            (
                r.id,
                r.split,
                r.votes,
                r.left_vote,
                r.right_vote,
                *(p.relative_to(root) for p in (r.reference, r.left, r.right)),
            )
            for r in nights.rows(root)
            if int(r.id) != 46  # its path is absolute
        ]
    assert len(read["official"]) == len(maker.rows()) - 1
    assert all(rows == read["official"] for rows in read.values())


def test_a_name_out_of_its_place_is_not_guessed_at(make, textures, tmp_path: Path) -> None:
    maker = make("nights")
    columns = ("id", "right_vote", "left_vote", *maker.HEADER[3:9])
    maker.write(tmp_path, textures, (*columns[:4], "ref", *columns[5:]), columns)
    with pytest.raises(RecordError, match="expected columns ref_path"):
        nights.rows(tmp_path)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("9,0,1,many,ref/a.png,distort/a_0.png,distort/a_1.png,train,True", "a whole number as votes"),
        ("9,0,1,7,ref/a.png", "8 cells, got 5"),
        ("9,0,1,7,,distort/a_0.png,distort/a_1.png,train,True", "a text as ref_path"),
    ],
)
def test_a_bad_row_is_named(tmp_path: Path, make, line: str, said: str) -> None:
    header = ",".join(make("nights").HEADER[:9])
    (tmp_path / "data.csv").write_text(f"{header}\n{line}\n")
    with pytest.raises(RecordError, match=rf"{said}.*at data\.csv row 2"):
        nights.rows(tmp_path)


def test_votes_may_be_written_as_decimals(tmp_path: Path, make) -> None:
    header = ",".join(make("nights").HEADER[:9])
    line = "9,0.0,1.0,7,ref/a.png,distort/a_0.png,distort/a_1.png,train,True"
    (tmp_path / "data.csv").write_text(f"\ufeff{header}\n{line}\n", encoding="utf-8")
    (row,) = nights.rows(tmp_path)
    assert (row.id, row.left_vote, row.right_vote) == ("9", 0, 1)


def test_all_three_images_are_compared_with_blink(make, textures, triplets: Path, tmp_path: Path) -> None:
    for place, seed in make("nights").seeds(5).items():
        repeated = textures.texture(seed, (128, 128))
        make("blink_rows").write(tmp_path / place, "Visual_Similarity", [[textures.texture(501), repeated]])
        rules = VisualSimilarityRules(blink=str(tmp_path / place))
        made = _made(VisualSimilarity(triplets, rules, 0), "train")
        found = {key: one for key, one in made.items() if getattr(one, "rule", "") == "duplicate"}
        assert list(found) == ["5"]
        shown = _made(VisualSimilarity(triplets, OFF, 0), "train")["5"].images[found["5"].detail["image"]]
        wanted = next(row for row in make("nights").rows() if row["id"] == 5)[place]
        assert shown.relative_to(triplets).as_posix() == wanted


def test_the_folder_above_may_be_named(triplets: Path) -> None:
    builder = VisualSimilarity(triplets.parent, OFF, 0)
    assert [table.name for table in builder.tables()] == ["data.csv"]
    samples = [one for one in _made(builder, "train").values() if isinstance(one, Sample)]
    assert len(samples) == 8
    # One level up, the path that climbs by two would still lead out.
    assert samples[0].meta["source"].startswith("nights/ref/")


def test_missing_things_are_named(triplets: Path, tmp_path: Path) -> None:
    with pytest.raises(RecordError, match=r"data\.csv, got no such file"):
        nights.rows(tmp_path)
    (tmp_path / "data.csv").write_text("")
    with pytest.raises(RecordError, match="an empty file"):
        nights.rows(tmp_path)
    with pytest.raises(UserError, match="blink=DIR, or dedup=off"):
        VisualSimilarity(triplets, VisualSimilarityRules(), 0).candidates("train")
