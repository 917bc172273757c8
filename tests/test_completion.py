"""Shell completion: what bash itself answers with the script, and that every flag is in it."""

import subprocess
import sys

import pytest

from hubmodels.cli import build_parser
from hubmodels.commands._flags import recipe_fields
from hubmodels.commands._shells import SHELLS, write_script
from hubmodels.recipe import Recipe


@pytest.fixture(scope="module")
def complete():
    """What bash offers for words of which the last is begun."""
    script = write_script("bash", build_parser())
    asked = '\nCOMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _hubmodels; echo "${COMPREPLY[@]}"'

    def ask(*words: str) -> list[str]:
        command = ["bash", "-c", script + asked, "bash", "hubmodels", *words]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()

    return ask


def test_bash_completes_commands_flags_and_choices(complete) -> None:
    assert complete("pre") == ["predict"]
    assert complete("train", "--famil") == ["--family"]
    assert complete("train", "--family", "ml") == ["mlp"]
    assert complete("train", "--config", "a.yaml", "--task", "tabular-r") == ["tabular-regression"]
    assert complete("evaluate", "folder", "--split", "") == ["test", "validation", "train"]
    assert complete("train", "--numeric_scaling", "q") == ["quantile"]
    assert complete("train", "--num_ens") == ["--num_ensemble"]  # a field of one family
    assert complete("evaluate", "folder", "--num_b") == ["--num_bins"]  # a task's field
    assert complete("evaluate", "folder", "--learning") == []  # which evaluate does not take
    assert complete("predict", "folder", "rows") == []  # then readline offers files


def test_every_flag_that_train_takes_is_offered(complete) -> None:
    fields = recipe_fields(Recipe(family="mlp", task="tabular-regression"))
    own = {name for name in fields if name in complete_names(complete)}
    assert {"learning_rate", "target_column_names", "hidden_sizes", "num_bins", "dataset_path"} <= own
    missing = {name for name, (section, *_) in fields.items() if section != "model" and name not in own}
    assert not missing


def complete_names(complete) -> set[str]:
    return {word.removeprefix("--") for word in complete("train", "--")}


@pytest.mark.parametrize("shell", SHELLS)
def test_a_script_is_printed_for_every_shell_without_torch(shell) -> None:
    code = (
        "import sys; from hubmodels.cli import main; main(sys.argv[1:]); "
        "sys.exit(bool({'torch', 'transformers', 'numpy'} & set(sys.modules)))"
    )
    command = [sys.executable, "-c", code, "completion", shell]
    out = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    assert "learning_rate" in out
    assert "tabular-regression" in out
