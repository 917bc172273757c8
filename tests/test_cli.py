"""The command line as a user types it. Real processes where start-up matters, `main` itself for the answers."""

import json
import logging
import os
import re
import subprocess
import sys

import pytest

from hubmodels.cli import build_parser, main
from hubmodels.commands import import_command
from hubmodels.commands._flags import parse_flags, recipe_fields
from hubmodels.recipe import Recipe


def ask(capsys, *words):
    """Exit code, stdout and stderr of `hubmodels WORDS`."""
    try:
        code = main(list(words))
    except SystemExit as stop:
        code = stop.code
    captured = capsys.readouterr()
    return code, captured.out, captured.err


@pytest.mark.parametrize("words", [["--help"], ["list"], ["train", "--help"]])
def test_help_and_list_import_nothing_heavy(words):
    script = (
        "import sys\nfrom hubmodels.cli import main\n"
        f"try:\n    main({words!r})\nexcept SystemExit:\n    pass\n"
        "heavy = {'torch', 'transformers', 'datasets', 'matplotlib', 'sklearn', 'numpy'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
        # On an idle machine it is as long on the clock; processor time is the same on a busy one.
        "import time\nassert time.process_time() < 0.7, time.process_time()"
    )
    subprocess.run([sys.executable, "-c", script], check=True, capture_output=True)


def test_the_console_script_and_python_m_answer_alike():
    commands = [[sys.executable, "-m", "hubmodels"], [os.path.join(os.path.dirname(sys.executable), "hubmodels")]]
    outputs = [
        subprocess.run([*command, "list"], capture_output=True, text=True, check=True).stdout for command in commands
    ]
    assert outputs[0] == outputs[1]
    assert "cnn" in outputs[0]


def test_list_gives_families_tasks_and_checkpoints_as_json(capsys):
    code, out, _ = ask(capsys, "list", "--json")
    listed = json.loads(out)
    assert code == 0
    assert {"cnn", "mlp"} <= set(listed["families"])
    assert "image-classification" in listed["tasks"]
    assert {"model_cards/mlp-fashion-mnist", "model_cards/cnn-fashion-mnist"} <= {
        item["checkpoint"] for item in listed["checkpoints"]
    }


def test_flags_take_both_spellings_lists_and_lone_booleans():
    fields = recipe_fields(Recipe(family="cnn", task="image-classification"))
    words = [
        "--learning-rate",
        "3e-4",
        "--hidden_sizes",
        "32",
        "64",
        "--bf16",
        "--max_steps=-1",
        "--label_column_name",
        "fine",
    ]
    assert parse_flags(words, fields) == {
        "learning_rate": 3e-4,
        "hidden_sizes": [32, 64],
        "bf16": True,
        "max_steps": -1,
        "label_column_name": "fine",
    }


TRAIN = ["train", "--family", "mlp", "--task", "image-classification", "--dataset", "sklearn:digits"]


@pytest.mark.parametrize(
    ("words", "answer"),
    [
        ([], "COMMAND"),
        (["trian"], "did you mean 'train'"),
        (["list", "--jsn"], "unknown argument --jsn, did you mean '--json'"),
        (["verify", "/nowhere", "--revis", "x"], "did you mean '--revision'"),  # flags are written whole
        (["predict", "/nowhere", "a.csv", "--output", "b.csv", "--member", "one"], "must be an integer, got 'one'"),
        (["predict", "/nowhere", "a.csv", "--output", "b.csv"], "there is no file a.csv"),
        (["card", "nowhere"], "there is no folder nowhere"),
        (["verify", ".", "--revision", "main"], "leave out --revision"),
        (["completion", "tcsh"], "'bash', 'zsh', 'fish'"),
        ([*TRAIN, "--dataset_path", "nowhere"], "no data set at nowhere"),
        (["train"], "nothing to train"),
        (["train", "--family", "mlp"], "--family needs --task"),
        (["train", "--family", "mpl", "--task", "image-classification"], "did you mean 'mlp'"),
        (["train", "--family", "mlp", "--task", "image-clasification"], "did you mean 'image-classification'"),
        (["train", "--family", "mlp", "--task", "image-classification"], "no data set"),
        (["train", "--config", "nowhere.yaml"], "no recipe at nowhere.yaml"),
        ([*TRAIN, "--learning_rat", "1"], "did you mean 'learning_rate'"),
        ([*TRAIN, "--learning_rate", "fast"], "--learning_rate must be a number, got 'fast'"),
        ([*TRAIN, "--learning_rate"], "--learning_rate needs a value"),
        ([*TRAIN, "--learning_rate", "1", "2"], "takes one value"),
        ([*TRAIN, "stray"], "--dataset takes one value"),
        (["train", "--family", "mlp", "--task", "image-classification", "stray"], "unexpected argument 'stray'"),
        ([*TRAIN, "--label_column_name", "lable"], "did you mean 'label'"),
        ([*TRAIN, "--hidden_act", "rellu"], "rellu"),
        ([*TRAIN, "--push_to_hub"], "--hub_model_id"),
        ([*TRAIN, "--metric_for_best_model", "log_loss"], "greater_is_better"),
        (["publish", "/nowhere", "--repo_id", "a/b"], "/nowhere"),
        (["publish", "/nowhere"], "required: --repo_id (see"),
        (["verify", "/nowhere"], "/nowhere"),
        (["download", "no id"], "no id"),
        (["train", "--model_name_or_path", "/nowhere"], "/nowhere"),
        (["evaluate", "/nowhere"], "/nowhere"),
        (["evaluate", "."], "recipe.yaml"),
    ],
)
def test_wrong_input_gets_one_line_and_exit_code_2(capsys, tmp_path, monkeypatch, words, answer):
    monkeypatch.chdir(tmp_path)
    code, out, err = ask(capsys, *words)
    assert code == 2
    last = re.split(r"[\r\n]+", err.strip())[-1]  # above it stand progress bars, at most
    assert answer in last
    assert err.count("error:") == 1, err
    assert "Traceback" not in err
    assert not list(tmp_path.rglob("*.safetensors"))


@pytest.mark.parametrize("command", list(next(
    action for action in build_parser()._actions if action.dest == "command"
).choices))  # fmt: skip
def test_every_command_s_help_describes_it_and_spells_flags_as_recipes_do(capsys, command):
    code, out, _ = ask(capsys, command, "--help")
    described = out.split("\n\n")[1]
    assert code == 0
    assert described[0].isupper()
    assert described.rstrip()[-1] == "."
    flags = {name for name in re.findall(r"--[a-z]\w*(?:-\w+)*", out) if "-" in name[2:]}
    assert not flags, flags
    assert "%%" not in out


@pytest.mark.parametrize("fails", [False, True], ids=["succeeds", "fails"])
def test_a_command_shows_our_lines_and_leaves_the_process_s_logging_as_it_was(capsys, caplog, monkeypatch, fails):
    def run(arguments, rest):
        logger.info("a line of a command")
        assert os.environ["TRANSFORMERS_VERBOSITY"] == "error"
        if fails:
            raise ValueError("no such thing")

    logger = logging.getLogger("hubmodels")
    monkeypatch.delenv("TRANSFORMERS_VERBOSITY", raising=False)
    monkeypatch.setattr(import_command("list"), "run", run)
    code, _, err = ask(capsys, "list")
    assert (code, err) == (
        (2, "a line of a command\nhubmodels list: error: no such thing\n") if fails else (0, "a line of a command\n")
    )
    assert not caplog.messages  # once, on stderr
    assert (logger.handlers, logger.propagate, logger.level) == ([], True, logging.NOTSET)
    assert "TRANSFORMERS_VERBOSITY" not in os.environ
    logger.warning("a line of the program")
    assert caplog.messages == ["a line of the program"]
    assert capsys.readouterr().err == ""
