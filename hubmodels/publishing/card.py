"""Write the model card: README.md of a release, from a template and what the run measured.

The metadata at its head is what the Hub reads (https://huggingface.co/docs/hub/model-cards): licence, data set,
metrics, pipeline tag, and the results as a model-index (`EvalResult`). The newer `.eval_results/*.yaml` entries
(https://huggingface.co/docs/hub/eval-results) are made here too. Nothing here names a family or a task.
"""

import re
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import huggingface_hub
import yaml
from huggingface_hub import EvalResult, ModelCard, ModelCardData

from ..errors import HubmodelsError
from ..formatting import column_rows, format_interval, join_columns, note_sentence
from ..recipe import Recipe, run_only_fields
from ..report import Note

LIBRARY_TAG = "hubmodels"  # by which `list_on_hub` finds releases
# What a file of a release is for, by name or by ending; the card lists the files with these words.
FILE_PURPOSES = {
    "config.json": "architecture and class names",
    "model.safetensors": "weights",
    "golden.safetensors": "a fixed input and this model's output for it, for verification",
    "metrics.json": "results, provenance and checksums",
    "recipe.yaml": "the recipe that gave these weights",
    "problem.json": "what measuring needs beside the model",
    "notes.md": "the section Notes of this card",
    "preprocessor_config.json": "how raw inputs become tensors",
    "processor_config.json": "how raw inputs become tensors",
    "tokenizer.json": "vocabulary and rules of the tokenizer",
    "tokenizer_config.json": "settings of the tokenizer",
    "generation_config.json": "defaults of text generation",
    ".py": "code of the model, for transformers without hubmodels",
}


class DescribedTask(Protocol):
    """Name what a release says of its task."""

    @property
    def tag(self) -> str:
        """Give the Hub's pipeline tag."""

    @property
    def head(self) -> str:
        """Give the suffix of the model's class: `ForImageClassification`."""

    @property
    def main_metric(self) -> str:
        """Name the metric that decides."""

    @property
    def metric_names(self) -> Mapping[str, str]:
        """Map each metric to its name in a table."""

    def example(self) -> str:
        """Write the lines of Python that use a release, with {model_id} where its id stands."""


def template_path() -> Path:
    """Find model_cards/template.md of a checkout, or its copy in an installed package."""
    packaged = Path(__file__).with_name("template.md")
    return packaged if packaged.exists() else Path(__file__).parents[2] / "model_cards" / "template.md"


def render_card(
    metrics: Mapping[str, Any],
    *,
    recipe: Recipe,
    task: DescribedTask,
    files: Sequence[str],
    notes: str | None = None,
    decisions: Sequence[Note] = (),
) -> str:
    """Render the text of README.md.

    Args:
        metrics: what metrics.json holds: name (the title), model_id (what a reader passes to `from_pretrained`),
            license (an identifier that the Hub knows), model_class, num_parameters, results (`Results.to_dict()`), data
            and provenance (see `release`), figures (path within the folder, caption), limits (sentences).
        recipe, task: what was trained.
        files: the names of the release's files.
        notes: Markdown for a section of its own.
        decisions: what was decided about the data, as problem.json has it.

    Raises:
        HubmodelsError: the metadata are not valid.
        KeyError: `metrics` lacks one of these.
    """
    name, model_id, model_class = metrics["name"], metrics["model_id"], metrics["model_class"]
    num_parameters, figures = metrics["num_parameters"], metrics["figures"]
    results, data, provenance = metrics["results"], metrics["data"], metrics["provenance"]
    card_data = card_metadata(name, metrics["license"], recipe, task, results, data)
    values = {
        "title": name,
        "model_id": model_id,
        "summary": _summary(recipe, model_class, num_parameters, data),
        "verdict": results.get("verdict"),
        "example": task.example().replace("{model_id}", model_id).strip(),
        "has_code": any(file.endswith(".py") for file in files),
        "data_sentence": _data_sentence(data),
        **_decisions(decisions),
        "data_rows": [(split, f"{count:,}") for split, count in (data.get("num_rows") or {}).items()],
        "evaluated_on": _evaluated_on(results, data),
        **_result_tables(results, task),
        **_figures_and_sounds(figures, model_id),
        "notes": notes.strip() if notes else None,
        "training_sentence": _training_sentence(recipe, provenance),
        "recipe_yaml": recipe.to_yaml().strip(),
        "on_hub": is_hub_id(model_id),
        "recipe_path": f"{model_id}/recipe.yaml" if Path(model_id).is_dir() else "recipe.yaml",
        "command": _command(provenance.get("command")),
        "versions": ", ".join(f"{key} {value}" for key, value in (provenance.get("versions") or {}).items()),
        "limits": [*_general_limits(results, data), *metrics["limits"]],
        "files": [{"name": file, "what": purpose} for file in files if (purpose := _purpose(file))],
    }
    try:
        card = ModelCard.from_template(card_data, template_path=str(template_path()), **values)
    except OSError as error:
        raise HubmodelsError(f"the card's template cannot be read: {error}") from None
    return re.sub(r"\n{3,}", "\n\n", str(card)).rstrip() + "\n"


def _figures_and_sounds(figures: Sequence[Mapping[str, str]], model_id: str) -> dict[str, Any]:
    """Give what is to be looked at and what to be listened to for the template."""
    sounds = [figure for figure in figures if figure["path"].endswith(".wav")]
    return {
        "figures": [{**figure, "alt": _alt(figure["caption"])} for figure in figures if figure not in sounds],
        "sounds": [{**sound, "url": _sound_url(sound["path"], model_id)} for sound in sounds],
    }


def card_metadata(
    name: str, license: str, recipe: Recipe, task: DescribedTask, results: Mapping[str, Any], data: Mapping[str, Any]
) -> ModelCardData:
    """Give the head of the card."""
    dataset = str(data.get("dataset") or "unknown")
    fields: dict[str, Any] = {}
    if is_hub_id(dataset):
        fields["datasets"] = [dataset]
    if recipe.model_name_or_path and is_hub_id(recipe.model_name_or_path):
        fields["base_model"] = recipe.model_name_or_path
    return ModelCardData(
        license=license,
        library_name="transformers",  # any other name breaks pipeline(model=id)
        pipeline_tag=task.tag,
        tags=list(dict.fromkeys([LIBRARY_TAG, recipe.family, task.tag])),
        metrics=list(results.get("metrics", {})),
        model_name=name,
        eval_results=[
            EvalResult(
                task_type=task.tag,
                dataset_type=dataset if is_hub_id(dataset) else dataset_name(dataset),
                dataset_name=dataset_name(dataset),
                dataset_split=results.get("split", "test"),
                dataset_revision=data.get("revision"),
                metric_type=metric,
                metric_name=task.metric_names.get(metric, metric),
                metric_value=value["value"],
                metric_args={"confidence_level": 0.95, "low": value["low"], "high": value["high"]},
            )
            for metric, value in results.get("metrics", {}).items()
            if value.get("value") is not None
        ],
        **fields,
    )


def eval_results_yaml(
    task: DescribedTask, results: Mapping[str, Any], data: Mapping[str, Any], date: str
) -> tuple[str, str] | None:
    """Write the main metric as an entry of `.eval_results/`.

    Returns:
        File name and YAML text. None where the installed huggingface_hub has no such entries, or the data set is not on
        the Hub.
    """
    dataset = str(data.get("dataset") or "")
    main = results.get("metrics", {}).get(task.main_metric)
    if not hasattr(huggingface_hub, "EvalResultEntry") or not is_hub_id(dataset) or not main or main["value"] is None:
        return None
    text = format_interval(main)
    entry = huggingface_hub.EvalResultEntry(
        dataset_id=dataset,
        task_id=task.tag,
        value=main["value"],
        dataset_revision=data.get("revision"),
        date=date,
        notes=f"{task.main_metric} on the split {results.get('split', 'test')}: {text} (95 % bootstrap interval)",
    )
    values = huggingface_hub.eval_result_entries_to_yaml([entry])
    return f".eval_results/{dataset.split('/')[-1]}.yaml", yaml.safe_dump(values, sort_keys=False, allow_unicode=True)


def is_hub_id(name: str) -> bool:
    """Tell whether a name has the form of a Hub id, `namespace/name`, and is no path that exists here."""
    return bool(re.fullmatch(r"[\w-][\w.-]*/[\w-][\w.-]*", name)) and not Path(name).exists()


def dataset_name(dataset: str) -> str:
    """Name a data set for a table, without the folders of a local path: those are nobody's business."""
    return dataset if is_hub_id(dataset) else Path(dataset.rstrip("/")).name


def _summary(recipe: Recipe, model_class: str, num_parameters: int, data: Mapping[str, Any]) -> str:
    """Say in two sentences what the model is."""
    start = f", fine-tuned from `{recipe.model_name_or_path}`" if recipe.model_name_or_path else ""
    return (
        f"`{model_class}` for {recipe.task.replace('-', ' ')}, {num_parameters:,} weights, trained on "
        f"{_dataset_link(data)}{start}. Made with hubmodels; loads in transformers."
    )


def _dataset_link(data: Mapping[str, Any]) -> str:
    """Name the data set, with a link where it is on the Hub."""
    dataset = str(data.get("dataset") or "unknown data")
    if is_hub_id(dataset):
        return f"[{dataset}](https://huggingface.co/datasets/{dataset})"
    return f"`{dataset_name(dataset)}`"


def _data_sentence(data: Mapping[str, Any]) -> str:
    """Say which data they were: revision, licence, splits, fingerprint."""
    sentences = [f"{_dataset_link(data)}"]
    if data.get("revision"):
        sentences[0] += f" at revision `{data['revision']}`"
    if data.get("license"):
        sentences[0] += f", licence {data['license']}"
    sentences[0] += "."
    if data.get("split_sentences"):  # of what was done; releases of 0.1.0 know only which splits were carved
        sentences += [f"{_text(sentence.rstrip('.'))}." for sentence in data["split_sentences"]]
    elif data.get("carved"):
        splits = " and ".join(data["carved"])
        sentences.append(
            f"The data set has no {splits} split of its own: it was carved from the training rows by a fixed seed."
        )
    if data.get("fingerprint"):
        sentences.append(f"Fingerprint of the rows: `{data['fingerprint']}`.")
    return " ".join(sentences)


def _decisions(notes: Sequence[Note]) -> dict[str, Any]:
    """Give the notes of a release for the template: sentences, and a table of the columns."""
    notes = join_columns(notes)
    return {
        "decisions": [
            _text(note_sentence(note))
            for note in notes
            if (note.column is None and note.topic != "splits") or note.surprising
        ],
        "decided_columns": [
            [_text(cell) for cell in row]
            for row in column_rows([note for note in notes if note.column is not None])[1:]
        ],
    }


def _text(text: Any) -> str:
    """Escape text of the data for Markdown: no markup, no link, no picture of another server comes from it."""
    return re.sub(r"([\\`*_\[\]<>#|~$])", r"\\\1", " ".join(str(text).split()))


def _evaluated_on(results: Mapping[str, Any], data: Mapping[str, Any]) -> str:
    """Say which rows were measured."""
    count = results.get("num_rows")
    rows = f"the {count:,} rows of the {results.get('split', 'test')} split" if count else "the test split"
    return f"{rows}, which took no part in training or in choosing"


def _result_tables(results: Mapping[str, Any], task: DescribedTask) -> dict[str, Any]:
    """Make the rows of the tables of results, and the sentences beside them, by their names in the template."""
    baseline = results.get("baseline") or {}
    baseline_metrics = baseline.get("metrics", {})
    rows = []
    for metric, entry in results.get("metrics", {}).items():
        label = task.metric_names.get(metric, metric)
        model_text, baseline_text = format_interval(entry), format_interval(baseline_metrics.get(metric))
        if metric == task.main_metric:
            label, model_text = f"**{label}**", f"**{model_text}**"
        rows.append({"name": label, "model": model_text, "baseline": baseline_text})
    difference = results.get("difference")
    sentence = None
    if difference and difference.get("value") is not None:
        label = task.metric_names.get(task.main_metric, task.main_metric)
        other = baseline.get("name", "baseline")
        sentence = f"Difference in {label} to the {other}, on the same rows: {format_interval(difference)}."
    label = task.metric_names.get(task.main_metric, task.main_metric)
    others = [
        f"{other['name']} {format_interval(other['metrics'].get(task.main_metric))}"
        for other in results.get("other_baselines", [])
    ]
    per_class = results.get("per_class") or {}
    columns = list(dict.fromkeys(metric for entries in per_class.values() for metric in entries))
    class_rows = [
        [_text(label), *(_class_value(entries.get(column)) for column in columns)]
        for label, entries in per_class.items()
    ]
    block = results.get("resample_block", 1)
    return {
        "metric_rows": rows,
        "blocks": f", which overlap and were drawn as stretches of {block} neighbours" if block > 1 else "",
        "baseline_name": baseline.get("name"),
        "difference": sentence,
        "others": f"Other baselines, {label}: {'; '.join(others)}." if others else None,
        "class_columns": columns,
        "class_rows": class_rows,
    }


def _class_value(entry: Any) -> str:
    """Format one cell of the table of classes."""
    return format_interval(entry) if isinstance(entry, Mapping) else "-" if entry is None else str(entry)


def _training_sentence(recipe: Recipe, provenance: Mapping[str, Any]) -> str:
    """Say how long the training took, on what, and when."""
    phrases = []
    minutes = provenance.get("training_minutes")
    if minutes is not None:
        phrases.append(f"Trained in {minutes:,.3g} minutes")
    if provenance.get("hardware"):
        phrases.append(f"on {provenance['hardware']}")
    if provenance.get("epochs"):
        steps = f" ({provenance['steps']:,} steps)" if provenance.get("steps") else ""
        phrases.append(f"for {provenance['epochs']:g} epochs{steps}")
    if provenance.get("seed") is not None:
        phrases.append(f"with seed {provenance['seed']}")
    when = f", {provenance['date']}" if provenance.get("date") else ""
    return " ".join(phrases) + when + ". The recipe:" if phrases else "The recipe:"


def _sound_url(path: str, model_id: str) -> str:
    """Give the address of a sound for a card: the Hub resolves relative addresses of images alone."""
    return f"{huggingface_hub.constants.ENDPOINT}/{model_id}/resolve/main/{path}" if is_hub_id(model_id) else path


def _command(command: str | None) -> str | None:
    """Drop from the command of a training what belongs to one machine: its folders, and where the result went."""
    if not command:
        return None
    private = {*run_only_fields(), "hub_model_id", "push_to_hub"}
    words: list[str] = []
    dropping = False
    for word in shlex.split(command):
        if word.startswith("--"):
            dropping = word[2:].partition("=")[0].replace("-", "_") in private
        if not dropping:
            words.append(word if not Path(word).is_absolute() else Path(word).name)
    return shlex.join(words)


def _general_limits(results: Mapping[str, Any], data: Mapping[str, Any]) -> list[str]:
    """List the limits that every such release has."""
    limits = [
        f"It knows {_dataset_link(data)} and nothing else: measure it on other inputs before relying on it.",
        "The intervals cover the choice of the test rows, not that of the training seed: this is one run.",
    ]
    if not results.get("baseline"):
        limits.append(
            "No classical baseline was fitted on the same split, so nothing here says that a network was needed."
        )
    if not data.get("license"):
        limits.append("The licence of the data is not recorded here: check that its terms allow your use.")
    return limits


def _alt(caption: str) -> str:
    """Take the first sentence of a caption for those who do not see the figure."""
    return caption.split(". ")[0].rstrip(".").replace("[", "(").replace("]", ")")


def _purpose(file: str) -> str | None:
    """Say what a file of a release is for; None where nothing needs to be said."""
    return FILE_PURPOSES.get(file) or FILE_PURPOSES.get(Path(file).suffix)
