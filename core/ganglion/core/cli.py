"""The `ganglion` command: a table of strings, so that help imports nothing heavy.

Each command names a config dataclass and a function that takes one. The config's fields become options (dotted where
nested), `--config FILE.yaml` reads a recipe, later options win. Exit codes: 0 done, 1 failed, 2 wrong usage or input;
an error is one line, `--debug` shows the traceback.
"""

from __future__ import annotations

import importlib
import os
import sys
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, is_dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, get_type_hints

from ganglion.core.errors import GanglionError, InputError, MissingExtra


@dataclass(frozen=True)
class Command:
    """One subcommand.

    config   "module:Class" of its frozen config dataclass, light to import
    run      "module:function" taking that config, imported only to run
    summary  one line for the help
    extra    the extra to install if the function's imports fail
    """

    config: str
    run: str
    summary: str
    extra: str


COMMANDS: dict[str, Command] = {
    "quickstart": Command(
        "ganglion.demo.quickstart.config:QuickstartConfig",
        "ganglion.demo.quickstart.run:run",
        "the whole pipeline on this machine, with a report",
        "all",
    ),
    "data synth": Command(
        "ganglion.training.data.synth:SynthConfig",
        "ganglion.training.data.synth:run",
        "write a synthetic data set for a task, or record episodes in a simulated world",
        "train",
    ),
    "data import": Command(
        "ganglion.training.data.importing:ImportConfig",
        "ganglion.training.data.importing:run",
        "bring data of many kinds into the two forms that training reads",
        "train",
    ),
    "data export": Command(
        "ganglion.training.data.exporting:DataExportConfig",
        "ganglion.training.data.exporting:run",
        "write a set of episodes in a form that other programs read",
        "train",
    ),
    "data stats": Command(
        "ganglion.training.data.stats:StatsConfig",
        "ganglion.training.data.stats:run",
        "lengths, balance, duplicates and leakage of data files and of demonstrations",
        "train",
    ),
    "data show": Command(
        "ganglion.training.data.show:ShowConfig",
        "ganglion.training.data.show:run",
        "one episode to look at: what it holds, a video of its cameras, a plot of its readings",
        "train",
    ),
    "data validate": Command(
        "ganglion.training.data.validate:ValidateConfig",
        "ganglion.training.data.validate:run",
        "name each bad row of a data file, or what is wrong with demonstrations",
        "train",
    ),
    "cache": Command(
        "ganglion.training.demonstrations.cache_config:CacheConfig",
        "ganglion.training.demonstrations.caching:run",
        "compute the VL features of demonstrations once, for training without images",
        "train",
    ),
    "train sft": Command(
        "ganglion.training.sft.config:SftConfig",
        "ganglion.training.sft.run:run",
        "fine-tune a VLM on a task with QLoRA",
        "train",
    ),
    "train policy": Command(
        "ganglion.training.policy.config:PolicyTrainConfig",
        "ganglion.training.policy.run:run",
        "train a sensor-fusion policy",
        "train",
    ),
    "evaluate": Command(
        "ganglion.training.evaluate.config:EvaluateConfig",
        "ganglion.training.evaluate.run:run",
        "score an adapter on a data file, with the untuned base beside it",
        "train",
    ),
    "export": Command(
        "ganglion.export.config:ExportConfig",
        "ganglion.export.run:run",
        "merge, convert to ONNX and write a bundle with its parity table",
        "export",
    ),
    "export verify": Command(
        "ganglion.export.verify_config:VerifyConfig",
        "ganglion.export.verify:run",
        "measure a bundle again on this machine: hashes, parity, every gate",
        "export",
    ),
    "export drift": Command(
        "ganglion.export.drift_config:DriftConfig",
        "ganglion.export.drift:run",
        "what each way of merging an adapter costs, and which to take",
        "export",
    ),
    "export plan": Command(
        "ganglion.export.config:ExportConfig",
        "ganglion.export.plan:run",
        "what an export would do: files, sizes, peak memory; without doing it",
        "export",
    ),
    "serve policy": Command(
        "ganglion.serving.command.policy_config:PolicyServeConfig",
        "ganglion.serving.command.policy:run",
        "host a bundle's policy for robots: in Triton, or in this process for this machine's",
        "serve",
    ),
    "serve vlm": Command(
        "ganglion.serving.command.vlm_config:VlmServeConfig",
        "ganglion.serving.command.vlm:run",
        "serve a bundle's VLM by OpenAI's protocol, or in Triton",
        "serve",
    ),
    "serve all": Command(
        "ganglion.serving.command.all_config:AllServeConfig",
        "ganglion.serving.command.all:run",
        "serve a bundle's policy and its VLM, each in a server of its own",
        "serve",
    ),
    "doctor": Command(
        "ganglion.core.doctor:DoctorConfig",
        "ganglion.core.doctor:run",
        "what this machine has, what it lacks, and the remedy",
        "all",
    ),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line; returns the exit code."""
    args = list(sys.argv[1:] if argv is None else argv)
    debug = "--debug" in args
    args = [arg for arg in args if arg != "--debug"]
    try:
        return _dispatch(args)
    except GanglionError as error:
        if debug:
            traceback.print_exc()
        for line in str(error).splitlines():
            print(f"ganglion: {line}", file=sys.stderr)
        return error.exit_code
    except BrokenPipeError:  # the reader of our output went away, as in `ganglion ... | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except KeyboardInterrupt:
        return _interrupted()
    except Exception as error:
        if debug:
            traceback.print_exc()
        if _began_as_interrupt(error):
            return _interrupted()
        reason = str(error).strip().splitlines()
        print(
            f"ganglion: {type(error).__name__}: {reason[0] if reason else 'no message'}; --debug shows where",
            file=sys.stderr,
        )
        return 1


def _interrupted() -> int:
    print("ganglion: interrupted; run the same command again to go on", file=sys.stderr)
    return 1


def _began_as_interrupt(error: BaseException) -> bool:
    """Tidying up after an interrupt may fail: `shutil.rmtree` closes a file twice where it came between two lines."""
    before = error.__context__
    return before is not None and (isinstance(before, KeyboardInterrupt) or _began_as_interrupt(before))


def _dispatch(args: list[str]) -> int:
    if args[:1] == ["--version"]:
        from importlib.metadata import version

        print(f"ganglion {version('ganglion')}")
        return 0
    if not args or args[0] in ("-h", "--help"):
        print(_help(""))
        return 0
    name, rest = _find(args)
    if name not in COMMANDS:
        if any(key.startswith(name + " ") for key in COMMANDS) and (not rest or rest[0] in ("-h", "--help")):
            print(_help(name + " "))
            return 0
        raise InputError(f"unknown command {' '.join(args[:2])!r}", remedy="see 'ganglion --help'")
    command = COMMANDS[name]
    config = _parse(name, command, rest)
    if config is None:
        return 0
    try:
        run: Callable[[Any], int | None] = _load(command.run)
        return run(config) or 0
    except ModuleNotFoundError as error:
        if error.name and not error.name.startswith("ganglion"):
            raise MissingExtra(error.name, command.extra) from error
        raise


def _find(args: list[str]) -> tuple[str, list[str]]:
    if " ".join(args[:2]) in COMMANDS:
        return " ".join(args[:2]), args[2:]
    return args[0], args[1:]


def _help(prefix: str) -> str:
    names = [name for name in COMMANDS if name.startswith(prefix)]
    width = max(map(len, names))
    lines = [f"  {name:<{width}}  {COMMANDS[name].summary}" for name in names]
    usage = f"usage: ganglion {prefix}COMMAND [options] [--config FILE.yaml] [--debug]"
    return "\n".join([usage, "", *lines, "", "'ganglion COMMAND --help' explains a command and its options."])


def _load(target: str) -> Any:
    module, _, attribute = target.partition(":")
    return getattr(importlib.import_module(module), attribute)


def _parse(name: str, command: Command, args: list[str]) -> Any:
    """The config from options and recipe; None when help was printed."""
    from jsonargparse import ActionConfigFile, ArgumentError, ArgumentParser, set_parsing_settings  # type: ignore[attr-defined]  # ActionConfigFile is public but not in __all__

    _check_recipes(args)
    set_parsing_settings(docstring_parse_attribute_docstrings=True)
    config_class = _load(command.config)
    parser = ArgumentParser(prog=f"ganglion {name}", description=command.summary, exit_on_error=False)
    parser.add_argument("--config", action=ActionConfigFile, help="YAML recipe; options after it override it")
    parser.add_class_arguments(config_class, as_positional=True)
    try:
        parsed = parser.parse_args(_spell_out(config_class, args))
    except ArgumentError as error:
        reason = " ".join(str(error).split())
        raise InputError(reason, where=name, remedy=f"see 'ganglion {name} --help'") from None
    except SystemExit as done:
        if done.code in (0, None):
            return None
        raise
    values = parser.instantiate(parsed)
    values.pop("config", None)
    return config_class(**vars(values))


def _check_recipes(args: Sequence[str]) -> None:
    """Name a recipe that can't be read by its file; the parser would speak of its text only."""
    import yaml

    following = [after for before, after in pairwise(args) if before == "--config"]
    for name in (*following, *(arg.removeprefix("--config=") for arg in args if arg.startswith("--config="))):
        try:
            found = yaml.safe_load(Path(name).read_text(encoding="utf-8"))
        except OSError as error:
            raise InputError(f"can't be read ({error.strerror})", where=name, remedy="correct --config") from None
        except (yaml.YAMLError, UnicodeDecodeError) as error:
            reason = " ".join(str(error).split())
            raise InputError(f"is not YAML ({reason:.160})", where=name, remedy="correct it") from None
        if not isinstance(found, dict):
            raise InputError(f"holds {type(found).__name__}, not options", where=name, remedy="write KEY: VALUE lines")


def _spell_out(config_class: type, args: list[str]) -> list[str]:
    """Let `--a-b` stand for `--a_b` and `--flag` for `--flag true`, which is what jsonargparse wants."""
    args = [_underscored(arg) if arg.startswith("--") else arg for arg in args]
    flags = {f"--{name}" for name in _bool_fields(config_class)}
    followers = [*args[1:], "--"]
    bare = {i for i, after in enumerate(followers[: len(args)]) if args[i] in flags and after not in ("true", "false")}
    return [f"{arg}=true" if i in bare else arg for i, arg in enumerate(args)]


def _underscored(option: str) -> str:
    name, equals, value = option[2:].partition("=")
    return f"--{name.replace('-', '_')}{equals}{value}"


def _bool_fields(config_class: type, prefix: str = "") -> list[str]:
    names: list[str] = []
    hints = get_type_hints(config_class)
    for field in fields(config_class):
        hint = hints[field.name]
        if hint in (bool, bool | None):
            names.append(prefix + field.name)
        elif is_dataclass(hint) and isinstance(hint, type):
            names += _bool_fields(hint, f"{prefix}{field.name}.")
    return names


if __name__ == "__main__":
    sys.exit(main())
