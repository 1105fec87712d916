"""The optional parts of an installation, which `pip install 'uncollapse[NAME]'` brings."""

from importlib.util import find_spec

from uncollapse.errors import InputError

EXTRAS = {"wandb": "wandb", "submitit": "slurm", "ray": "ray"}  # module -> extra; others: harness
HARNESS = (
    "hydra", "omegaconf", "yaml", "pandas", "matplotlib", "datasets", "pyarrow", "rich", "jinja2",
    "tabulate", "sklearn", "sacrebleu", "safetensors", "tokenizers", "antlr4",
)  # fmt: skip
OPTIONAL = (*EXTRAS, *HARNESS)


def require_installed(what: str, *modules: str) -> None:
    """InputError if a module that something needs is not installed."""
    for module in modules:
        try:
            found = find_spec(module)
        except ModuleNotFoundError:
            found = None
        if found is None:
            raise InputError(describe_missing(what, module))


def describe_missing(what: str, module: str) -> str:
    """The message for a module that is not installed."""
    extra = EXTRAS.get(module, "harness")
    return f"{what} needs {module}, which is not installed; pip install 'uncollapse[{extra}]'"
