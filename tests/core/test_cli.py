import json
import os
import subprocess
import sys

import pytest

from ganglion.core.cli import COMMANDS, Command, _parse, main

HEAVY = ("torch", "transformers", "onnxruntime", "matplotlib", "jsonargparse", "numpy")


def test_help_lists_every_command_and_imports_nothing_heavy():
    code = (
        "import sys; from ganglion.core.cli import main; main(['--help']);"
        f"print([m for m in {HEAVY} if m in sys.modules], file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert all(name in done.stdout for name in COMMANDS)
    assert done.stderr.strip() == "[]"


@pytest.mark.parametrize("name", list(COMMANDS))
def test_every_command_explains_itself_without_torch(name):
    code = (
        f"import sys; from ganglion.core.cli import main; code = main([*{name.split()!r}, '--help']);"
        "print([m for m in ('torch', 'transformers', 'onnxruntime') if m in sys.modules], file=sys.stderr); "
        "sys.exit(code)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("usage: ganglion " + name)
    assert done.stderr.strip() == "[]"


def test_an_unknown_command_exits_2_in_one_line(capsys):
    assert main(["tarin", "sft"]) == 2
    assert "unknown command 'tarin sft'" in capsys.readouterr().err


def test_an_unknown_option_is_named(capsys):
    assert main(["doctor", "--jsn"]) == 2
    error = capsys.readouterr().err
    assert "--jsn" in error and error.count("\n") == 1


def test_an_unknown_key_in_a_recipe_is_named(tmp_path, capsys):
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text("jsn: true\n")
    assert main(["doctor", "--config", str(recipe)]) == 2
    error = capsys.readouterr().err
    assert "jsn" in error and error.count("\n") == 1


def test_a_flag_needs_no_value(capsys):
    assert main(["doctor", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)


def test_options_may_be_written_with_hyphens(tmp_path):
    parse = ["--sensor-data", str(tmp_path / "a-b"), "--eval_count=7"]
    config = _parse("quickstart", COMMANDS["quickstart"], parse)
    assert (config.sensor_data, config.eval_count) == (tmp_path / "a-b", 7)


def test_a_group_of_commands_has_its_own_help(capsys):
    assert main(["data"]) == 0
    assert "data synth" in capsys.readouterr().out


@pytest.mark.parametrize("where", ["at import", "while running"])
def test_an_absent_package_is_named_with_its_extra(where, monkeypatch, tmp_path, capsys):
    late = "def run(config):\n    import no_such_package\n"
    (tmp_path / "command_for_test.py").write_text("import no_such_package\n" if where == "at import" else late)
    monkeypatch.syspath_prepend(tmp_path)
    command = Command("ganglion.core.doctor:DoctorConfig", "command_for_test:run", "a test", "train")
    monkeypatch.setitem(COMMANDS, "for test", command)
    monkeypatch.delitem(sys.modules, "command_for_test", raising=False)
    assert main(["for", "test"]) == 2
    assert "no_such_package is not installed; pip install 'ganglion[train]'" in capsys.readouterr().err


@pytest.mark.parametrize("tidies", [True, False])
def test_an_interrupt_is_one_even_where_tidying_up_after_it_fails(monkeypatch, capsys, tidies):
    def interrupted(config):
        try:
            raise KeyboardInterrupt
        finally:
            if not tidies:
                os.close(-1)

    monkeypatch.setattr("ganglion.core.doctor.run", interrupted)
    assert main(["doctor"]) == 1
    assert capsys.readouterr().err == "ganglion: interrupted; run the same command again to go on\n"
