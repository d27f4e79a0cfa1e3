"""What each kind of import makes of good data, and that training's reader takes it."""

import base64
import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from ganglion.core.cli import main
from ganglion.core.datafile import read_datafile
from ganglion.core.errors import InputError
from ganglion.core.rows import ArrowRows
from ganglion.core.tasks import CHAT, EXO_ASSIST, ROBOT_CODE, Example, Task, get_task
from ganglion.core.tasks.exo_assist import expected_answer

datasets = pytest.importorskip("datasets")


def imported(kind: str, source: Path, *options: str, task: Task = CHAT, part: str = "data") -> list[Example]:
    out = source.parent / f"out-{kind}"
    assert main(["data", "import", kind, str(source), "--out", str(out), "--task", task.name, *options]) == 0
    return list(read_datafile(out / f"{part}.arrow", task))


def written(path: Path, rows: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(rows))
    return path


def picture(path: Path, color: str = "red") -> bytes:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (20, 10), color).save(path)
    return path.read_bytes()


def turns(example: Example) -> list[tuple[str, str, list[bytes]]]:
    return [(turn.prompt, turn.answer, [path.read_bytes() for path in turn.images]) for turn in example.turns]


def test_rows_of_json_are_the_same_after_the_import_and_images_stay_where_they_are(exo_data: Path) -> None:
    before = read_datafile(exo_data, EXO_ASSIST)
    after = imported("json", exo_data, task=EXO_ASSIST)
    assert [turns(example) for example in after] == [turns(example) for example in before]
    records = list(ArrowRows(exo_data.parent / "out-json/data.arrow").records())
    assert records[3].images == ("../images/000003.jpg",) and records[3].id == "3"
    assert json.loads(records[3].row)["image_path"] == "../images/000003.jpg"
    assert not (exo_data.parent / "out-json/images").exists()


def test_an_id_of_the_row_is_kept(tmp_path: Path) -> None:
    rows = [{"id": name, "prompt": "a", "answer": "b"} for name in ("x", 7)]
    imported("json", written(tmp_path / "a.json", rows))
    assert [record.id for record in ArrowRows(tmp_path / "out-json/data.arrow").records()] == ["x", "7"]


def test_lines_and_lists_give_the_same(tmp_path: Path) -> None:
    rows = [{"prompt": f"Say {k}", "answer": str(k)} for k in range(5)]
    (tmp_path / "a.jsonl").write_text("\n".join(map(json.dumps, rows)))
    assert imported("json", tmp_path / "a.jsonl") == list(read_datafile(written(tmp_path / "a.json", rows), CHAT))


def test_a_cell_stays_text_where_the_task_takes_text_and_is_json_where_it_does_not(tmp_path: Path) -> None:
    own = [{"name": "hop", "arguments": [{"name": "far", "kind": "int"}]}]
    table = [
        "input,output,category,functions,accepted",
        "42,stop(),movement,,",
        "true,hop(far=2),jump,"
        + ",".join('"' + json.dumps(v).replace('"', '""') + '"' for v in (own, [{"hop": {"far": [2]}}])),
    ]
    (tmp_path / "a.csv").write_text("\ufeff" + "\r\n".join(table))
    number, yes = imported("csv", tmp_path / "a.csv", task=ROBOT_CODE)
    assert number.row == {"input": "42", "output": "stop()", "category": "movement"}
    assert yes.row["input"] == "true" and yes.row["functions"] == own
    assert imported_again(tmp_path / "a.csv", ROBOT_CODE) == [number, yes]


def imported_again(path: Path, task: Task) -> list[Example]:
    """As the file itself is read, without an import."""
    return list(read_datafile(path, task))


def test_a_table_of_exo_assist_needs_no_types(tmp_path: Path) -> None:
    picture(tmp_path / "a.png")
    expected = json.dumps(expected_answer("flat", "none", 3)).replace('"', '""')
    (tmp_path / "a.csv").write_text(
        f'image_path,user_feedback,previous_assistance,expected_output\na.png,42,3,"{expected}"\n'
    )
    (example,) = imported("csv", tmp_path / "a.csv", task=EXO_ASSIST)
    assert example.row["user_feedback"] == "42" and example.row["previous_assistance"] == 3


def test_a_conversation_of_llava_keeps_turns_images_and_the_system(tmp_path: Path) -> None:
    red, blue = picture(tmp_path / "pictures/red.png"), picture(tmp_path / "pictures/blue.png", "blue")
    said = [
        ("system", "Be brief."),
        ("human", "<image>\nWhat is this?"),
        ("gpt", "Red."),
        ("user", "And this?\n<image>"),
        ("assistant", "Blue."),
    ]
    row = {
        "id": "a",
        "images": ["red.png", "blue.png"],
        "model": "left out",
        "conversations": [{"from": role, "value": text} for role, text in said],
    }
    path = written(tmp_path / "a.json", [row])
    (example,) = imported("conversations", path, "--image_base_dir", str(tmp_path / "pictures"))
    assert turns(example) == [("Be brief.\n\nWhat is this?", "Red.", [red]), ("And this?", "Blue.", [blue])]


def test_an_image_without_a_mark_belongs_to_the_first_turn(tmp_path: Path) -> None:
    red = picture(tmp_path / "red.png")
    said = [("human", "What?"), ("gpt", "Red."), ("human", "Sure?"), ("gpt", "Yes.")]
    row = {"image": "red.png", "conversations": [{"from": role, "value": text} for role, text in said]}
    (example,) = imported("conversations", written(tmp_path / "a.json", [row]))
    assert turns(example) == [("What?", "Red.", [red]), ("Sure?", "Yes.", [])]


def test_messages_take_parts_paths_and_embedded_pictures(tmp_path: Path) -> None:
    red = picture(tmp_path / "red.png")
    uri = "data:image/png;base64," + base64.b64encode(red).decode()
    parts = [
        {"type": "text", "text": "What is"},
        {"type": "image_url", "image_url": {"url": uri}},
        {"type": "text", "text": "this?"},
        {"type": "image", "image": "red.png"},
        {"type": "image_url", "image_url": (tmp_path / "red.png").as_uri()},
        {"type": "image"},
    ]
    row = {
        "messages": [{"role": "user", "content": parts}, {"role": "assistant", "content": "Red."}],
        "images": ["red.png"],
    }
    (example,) = imported("messages", written(tmp_path / "a.json", [row, row]))[:1]
    assert turns(example) == [("What is\nthis?", "Red.", [red] * 4)]
    assert [path.read_bytes() for path in (tmp_path / "out-messages/images").iterdir()] == [red]


def test_a_conversation_of_a_task_with_a_schema_is_written_as_the_task_writes(tmp_path: Path) -> None:
    picture(tmp_path / "red.png")
    answer = expected_answer("flat", "none", 3)
    row = {
        "image": "red.png",
        "conversations": [
            {"from": "human", "value": "How much?"},
            {"from": "gpt", "value": json.dumps(answer, indent=4)},
        ],
    }
    (example,) = imported("conversations", written(tmp_path / "a.json", [row]), task=EXO_ASSIST)
    assert json.loads(example.answer) == answer and "\n" not in example.answer


def test_a_task_of_conversations_reads_its_rows_itself(tmp_path: Path) -> None:
    from dataclasses import replace

    from ganglion.core.tasks import registry

    red = picture(tmp_path / "pictures/red.png")

    def read_row(row: Any, folder: Path) -> Example:
        asked, answered = row["conversations"]
        return Example((folder / row["image"],), asked["value"], answered["value"], row)

    task = replace(CHAT, name="own_talk", read_row=read_row, conversations="own")
    registry._TASKS[task.name] = task
    try:
        row = {
            "id": 1,
            "image": "red.png",
            "conversations": [{"from": "user", "value": "<image>\nx"}, {"from": "assistant", "value": "y"}],
        }
        options = ["--image_base_dir", str(tmp_path / "pictures")]
        (example,) = imported("conversations", written(tmp_path / "a.json", [row]), *options, task=get_task("own_talk"))
    finally:
        del registry._TASKS[task.name]
    assert example.row["conversations"] == row["conversations"] and turns(example)[0] == ("<image>\nx", "y", [red])


def test_a_task_that_finds_images_by_other_means_gets_them_beside_the_rows(tmp_path: Path) -> None:
    from dataclasses import replace

    from ganglion.core.tasks import registry

    red = picture(tmp_path / "in/screens/7.png")
    task = replace(
        CHAT,
        name="by_number",
        read_row=lambda row, folder: Example((folder / f"screens/{row['n']}.png",), "x", "y", row),
    )
    registry._TASKS[task.name] = task
    try:
        (example,) = imported("json", written(tmp_path / "in/a.json", [{"n": 7}]), task=task)
    finally:
        del registry._TASKS[task.name]
    assert turns(example) == [("x", "y", [red])]
    assert example.images[0] == tmp_path / "in/out-json/screens/7.png"


def hf_rows(data: bytes) -> Any:
    features = datasets.Features(
        {
            "image": datasets.Image(),
            "question": datasets.Value("string"),
            "label": datasets.ClassLabel(names=["cat", "dog"]),
            "source": datasets.Value("string"),
        }
    )
    picture = {"bytes": data, "path": None}
    rows = [{"image": picture, "question": f"Which {k}?", "label": k % 2, "source": "x"} for k in range(4)]
    return datasets.Dataset.from_list(rows, features=features)


@pytest.mark.parametrize("form", ["parquet file", "parquet folder", "saved", "saved parts", "arrow"])
def test_a_hugging_face_set_gives_pictures_labels_and_renamed_columns(form: str, tmp_path: Path) -> None:
    red = picture(tmp_path / "red.png")
    rows, source = hf_rows(red), tmp_path / "set"
    source.mkdir()
    if form.startswith("parquet"):
        rows.to_parquet(source / "train-0.parquet")
        source = source / "train-0.parquet" if form == "parquet file" else source
    elif form == "saved":
        rows.save_to_disk(source)
    elif form == "saved parts":
        datasets.DatasetDict({"train": rows, "test": rows}).save_to_disk(source)
    else:
        rows.save_to_disk(tmp_path / "saved")
        source = next((tmp_path / "saved").glob("*.arrow"))
    columns = {"image": "images", "question": "prompt", "label": "answer"}
    found = imported("hf", source, "--columns", json.dumps(columns))
    assert [turns(example)[0] for example in found] == [(f"Which {k}?", ("cat", "dog")[k % 2], [red]) for k in range(4)]
    (kept,) = (source.parent / "out-hf/images").iterdir()
    assert found[0].row["images"] == f"images/{kept.name}" and kept.read_bytes() == red


def test_hugging_face_rows_may_be_conversations_of_either_form(tmp_path: Path) -> None:
    red = picture(tmp_path / "red.png")
    rows = {
        "messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Ho"}],
        "conversations": [{"from": "human", "value": "<image>Hi"}, {"from": "gpt", "value": "Ho"}],
    }
    for key, said in rows.items():
        row = {key: said, **({"images": [{"bytes": red, "path": None}]} if key == "conversations" else {})}
        source = tmp_path / key / "a.parquet"
        source.parent.mkdir()
        datasets.Dataset.from_list([row]).to_parquet(source)
        (example,) = imported("hf", source)
        assert turns(example) == [("Hi", "Ho", [red] if key == "conversations" else [])]


def test_the_file_that_decides_how_rows_are_read_goes_with_them(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in/api.yaml").write_text("name: hopper\nfunctions: [{name: hop}]\n")
    (example,) = imported(
        "json", written(tmp_path / "in/a.json", [{"input": "hop", "output": "hop()", "category": "x"}]), task=ROBOT_CODE
    )
    assert set(example.context.functions) == {"hop"}


def test_bad_rows_can_be_left_out_and_are_listed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    good = {"prompt": "a", "answer": "b"}
    path = written(tmp_path / "a.json", [good, {"prompt": 5, "answer": "b"}, good, "x"])
    assert len(imported("json", path, "--bad_rows", "skip")) == 2
    listed = [json.loads(line) for line in (tmp_path / "out-json/bad_rows.jsonl").read_text().splitlines()]
    assert [bad["row"] for bad in listed] == [1, 3] and listed[0]["reason"] == "column 'prompt': is 5; give a text"
    assert "2 bad rows left out" in capsys.readouterr().out


def test_all_bad_rows_are_named_at_once_up_to_a_limit(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = written(tmp_path / "a.json", [{"prompt": k} for k in range(25)])
    assert main(["data", "import", "json", str(path), "--task", "chat", "--out", str(tmp_path / "out")]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 21 and "row 19" in lines[19] and "and 5 more bad rows" in lines[20]
    assert (
        main(
            [
                "data",
                "import",
                "json",
                str(path),
                "--task",
                "chat",
                "--out",
                str(tmp_path / "out"),
                "--bad_rows",
                "skip",
            ]
        )
        == 2
    )
    assert "holds 25 bad rows and no good one" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]


def test_a_table_that_its_task_reads_keeps_naming_records_that_do_not_fit(tmp_path: Path) -> None:
    """A task whose rows are made of several records: here of each one and the one before."""
    from dataclasses import replace

    from ganglion.core.tasks import RowError, registry

    def from_table(table: Any) -> Any:
        before = ""
        for cells in table:
            if cells["said"] == "nonsense":
                raise RowError("said", "is nonsense", "say something")
            yield {"prompt": f"{before}, then?", "answer": cells["said"]}
            before = cells["said"]

    task = replace(CHAT, name="tabled", from_table=from_table)
    registry._TASKS[task.name] = task
    try:
        (tmp_path / "a.csv").write_text("said,by\none,me\ntwo\nthree,me\n")
        options = ["--task", "tabled", "--out", str(tmp_path / "out")]
        assert main(["data", "import", "csv", str(tmp_path / "a.csv"), *options]) == 2
        found = imported("csv", tmp_path / "a.csv", "--bad_rows", "skip", task=task)
        assert [(example.prompt, example.answer) for example in found] == [(", then?", "one"), ("one, then?", "three")]
        (tmp_path / "a.csv").write_text("said,by\none,me\nnonsense,me\n")
        with pytest.raises(InputError, match=r"a\.csv: record 2: column 'said': is nonsense; say something"):
            read_datafile(tmp_path / "a.csv", task)
    finally:
        del registry._TASKS[task.name]
