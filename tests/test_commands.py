"""One file a command, found by discovery; the options of a pair of family and task."""

import subprocess
import sys

import pytest

from hubmodels import families
from hubmodels.commands import import_command, list_commands
from hubmodels.commands._flags import pair_fields
from hubmodels.commands._used_fields import used_config_fields
from hubmodels.commands.train import print_section
from hubmodels.fields import option_fields
from hubmodels.tasks import get_task

PAIRS = [(family, task) for family in families.list_families() for task in families.family_tasks(family)]


@pytest.mark.parametrize("name", list_commands())
def test_a_command_says_what_it_does_and_answers_help(name: str, run_cli) -> None:
    module = import_command(name)
    assert module.SUMMARY[0].islower()
    assert module.FIELDS in ("all", "data", "sample", None)
    code, out, _ = run_cli(name, "--help")
    assert code == 0
    assert out.startswith(f"usage: hubmodels {name}")


@pytest.mark.parametrize(("family", "task"), PAIRS)
def test_a_pair_offers_the_fields_that_its_head_reads_and_none_that_the_data_decide(family: str, task: str) -> None:
    head, offered = get_task(task).head, set(pair_fields(family, task))
    assert offered <= used_config_fields(family, head)
    assert not offered & {"id2label", "label2id", "problem_type", "vocab_size", "num_channels", "num_numeric_features"}
    # Independently of the reading of the source: what a config is asked for while the head is built stands in it.
    asked: set[str] = set()
    config_class = families.config_class(family)

    class Watched(config_class):
        def __getattribute__(self, name: str):
            if not name.startswith("_"):
                asked.add(name)
            return super().__getattribute__(name)

    config = config_class()
    config.__class__ = Watched
    asked.clear()
    try:
        import torch

        with torch.device("meta"):
            families.family_head(family, head)(config)
    except (ValueError, TypeError, AttributeError):  # the defaults are another head's: what was asked until then counts
        pass
    fields = set(families.config_help(family))
    assert asked & fields <= used_config_fields(family, head) | {"tie_word_embeddings", "pad_token_id", "bos_token_id",
                                                                 "eos_token_id"}  # fmt: skip


def test_another_heads_fields_are_not_offered() -> None:
    assert "quantiles" in pair_fields("mlp", "tabular-regression")
    assert "quantiles" not in pair_fields("mlp", "image-classification")
    assert "forecast_loss" in pair_fields("rnn", "time-series-forecasting")
    assert "forecast_loss" not in pair_fields("rnn", "text-classification")
    assert "tie_word_embeddings" in pair_fields("rnn", "text-generation")


def test_the_help_of_a_pair_imports_no_torch() -> None:
    code = (
        "import sys; from hubmodels.cli import main; main(sys.argv[1:]); "
        "assert not {'torch', 'transformers', 'datasets'} & set(sys.modules)"
    )
    words = ["train", "--family", "rnn", "--task", "text-classification", "--help"]
    subprocess.run([sys.executable, "-c", code, *words], check=True, capture_output=True)


@pytest.mark.parametrize("task", sorted({task for _, task in PAIRS}))
def test_the_help_of_an_option_says_its_default_as_a_recipe_would(task: str, capsys) -> None:
    print_section(f"data, for {task}", get_task(task))
    lines = capsys.readouterr().out.splitlines()[1:-1]
    assert len(lines) == len(option_fields(get_task(task)))
    assert not [line for line in lines if "MISSING" in line or "object at 0x" in line]
    quantiles = [line for line in lines if line.lstrip().startswith("--quantiles ")]
    assert all("(default 0.1 0.2 0.3 0.4 0.5 0.6 0.7 0.8 0.9)" in line for line in quantiles)
