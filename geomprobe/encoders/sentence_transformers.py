"""sentence-transformers models, from a folder or loaded: the transformer inside, and what their `encode` adds.

The package itself is not needed: modules.json, the modules' config.json and their safetensors say all of it.
"""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

from geomprobe.common import InputError, read_json
from geomprobe.encoders.head import Dense, Head, LayerNorm, Normalize, pooling_modes
from geomprobe.encoders.settings import inside, read_object, read_settings
from geomprobe.encoders.weights import MEASURE, read_tensors, weight_files

_TRANSFORMER_CONFIGS = ("bert", "roberta", "distilbert", "camembert", "albert", "xlm-roberta", "xlnet")
# settings that decide how files are found or how fast things are, not what comes out
_HARMLESS = {"attn_implementation", "cache_dir", "device_map", "local_files_only", "low_cpu_mem_usage", "revision"}
_HARMLESS |= {"token", "trust_remote_code", "use_cache", "use_fast", "use_safetensors", "add_pooling_layer"}
_HARMLESS |= {"padding_side", "model_max_length", "dtype", "torch_dtype", "code_revision"}
# sentence-transformers leaves the prompt of these out of the pooling, whatever their config says
_INSTRUCTORS = {f"hkunlp/instructor-{size}" for size in ("base", "large", "xl")}
_WITHOUT_TRANSFORMER = ("StaticEmbedding", "WordEmbeddings", "BoW")
_OTHER_KINDS = {
    "SparseEncoder": "gives one weight per vocabulary entry or latent feature, not a dense vector",
    "CrossEncoder": "gives a score for a pair of texts, not a vector for a text",
    "MultiVectorEncoder": "gives one vector per token, not one per text",
}


@dataclass(frozen=True)
class Declared:
    """What a sentence-transformers model declares about its own `encode`.

    Attributes
    ----------
    head : Head or None
        What follows the transformer; None where it cannot be applied.
    refusal : str
        Why it cannot, naming the module or setting; empty where it can.
    pooling : str or None
        Names of the declared pooling modes, joined by "+".
    prompts : mapping of name to text
    default_prompt : str
        Text that `encode` puts before each text unless told otherwise.
    max_length : int or None
        Tokens per text.
    lower_case : bool
    notes : tuple of str
    """

    head: Head | None = None
    refusal: str = ""
    pooling: str | None = None
    prompts: Mapping[str, str] = field(default_factory=dict)
    default_prompt: str = ""
    max_length: int | None = None
    lower_case: bool = False
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Module:
    """A module of a sentence-transformers model: its class, settings, weights and, of a loaded Dense, activation."""

    path: str
    config: Mapping[str, Any]
    weights: Callable[[], Mapping[str, torch.Tensor]] = dict
    activation: nn.Module | None = None

    @property
    def name(self) -> str:
        """Name of the class."""
        return self.path.rsplit(".", 1)[-1]

    @property
    def kind(self) -> str:
        """Name of the class; with its package where that is not sentence-transformers."""
        return self.name if self.path.startswith("sentence_transformers.") else self.path


def read_folder(folder: Path, source: str) -> tuple[Path, Declared]:
    """Folder of the transformer inside a folder, and what else the folder declares.

    A folder without modules.json is a plain transformer, which declares nothing.

    Raises
    ------
    InputError
        A damaged file, or a model that gives no dense vectors of texts or holds no transformer.
    """
    top = read_settings(folder / "config_sentence_transformers.json")
    model = read_object(folder / "config.json")
    if not (folder / "modules.json").is_file():
        kind = top.get("model_type")
        if kind == "CrossEncoder" or {"sentence_transformers", "sbert_ce_default_activation_function"} & set(model):
            raise other_kind("CrossEncoder", source)
        return folder, Declared()
    listed = read_json(folder / "modules.json")
    if not (isinstance(listed, list) and listed and all(isinstance(m, dict) and "type" in m for m in listed)):
        raise InputError(f"{folder / 'modules.json'} is not a list of modules.", "Save the model again.")
    places = [inside(folder, module.get("path", ""), folder / "modules.json") for module in listed]
    modules = [_stored(str(m["type"]), place) for m, place in zip(listed, places, strict=True)]
    kind = _kind(str(top.get("model_type", "")), modules)
    if kind in _OTHER_KINDS:
        raise other_kind(kind, source)
    if modules[0].name != "Transformer":
        raise no_transformer(source, modules, places[0])
    if source.partition("@")[0] in _INSTRUCTORS:
        modules = [replace(m, config={**m.config, "include_prompt": False}) for m in modules]
    inner = places[0]
    config = _without_own_weights(modules[0].config, inner)
    declared = declare(modules, top, transformer_refusal(config))
    processor = config.get("processor_kwargs") or config.get("tokenizer_args") or {}
    stored = read_object(inner / "config.json")
    asked = config.get("model_kwargs") or config.get("model_args") or {}
    formats = [s.get(key) for s in (asked, stored) for key in ("dtype", "torch_dtype") if s.get(key)]
    notes = declared.notes
    if formats and str(formats[0]).removeprefix("torch.") not in ("float32", "auto"):
        notes += (f"its own `encode` may run in {formats[0]}, the number format of its checkpoint",)
    limit = processor.get("model_max_length") or config.get("max_seq_length")
    lower = bool(config.get("do_lower_case"))
    return inner, replace(declared, max_length=limit, lower_case=lower, notes=notes)


def read_loaded(model: nn.Module) -> tuple[Any, Any, Declared] | None:
    """Transformer, tokenizer and declarations of a loaded SentenceTransformer; None of any other model.

    Raises
    ------
    InputError
        A sentence-transformers model that gives no dense vectors of texts or holds no transformer.
    """
    names = [kind.__name__ for kind in type(model).__mro__ if kind.__module__.startswith("sentence_transformers.")]
    for kind in _OTHER_KINDS:
        if kind in names:
            raise other_kind(kind, f"This {kind}")
    if "SentenceTransformer" not in names:
        return None
    parts = list(model.children())
    modules = [_loaded(part) for part in parts]
    if not modules or modules[0].name != "Transformer":
        raise no_transformer("This sentence-transformers model", modules)
    first: Any = parts[0]
    if not isinstance(first.auto_model, nn.Module):
        raise InputError(
            f"This sentence-transformers model runs on {type(first.auto_model).__name__}, not on torch.",
            "Load it with backend='torch'.",
        )
    top = {name: getattr(model, name, None) for name in ("prompts", "default_prompt_name", "truncate_dim")}
    declared = declare(modules, top, transformer_refusal(modules[0].config))
    # the tokenizer of a loaded model lower-cases by itself where that is a setting of the model
    lower = bool(getattr(first, "do_lower_case", False)) and not getattr(first.tokenizer, "is_fast", False)
    return first.auto_model, first.tokenizer, replace(declared, max_length=first.max_seq_length, lower_case=lower)


def declare(modules: Sequence[Module], top: Mapping[str, Any], refusal: str) -> Declared:
    """Declarations of the modules after the transformer and of the model's settings."""
    given = top.get("prompts") or {}
    if not refusal and "." in modules[0].kind:
        refusal = f"module {modules[0].kind} has custom code"
    prompts = {"query": "", "document": ""} | {str(name): str(text or "") for name, text in given.items()}
    default = top.get("default_prompt_name")
    head, pooling = None, None
    try:
        pooling = "+".join(
            mode for module in modules[1:] if module.kind == "Pooling" for mode in pooling_modes(module.config)
        )
        if not refusal:
            if default is not None and default not in prompts:
                raise InputError(f"its default prompt {default!r} is not one of its prompts {sorted(prompts)}")
            head = make_head(modules[1:], top.get("truncate_dim"))
    except InputError as error:
        refusal = error.message
    prompt = prompts.get(default, "") if default is not None else ""
    notes = []
    if refusal:
        notes.append(f"its own `encode` ({', '.join(m.kind for m in modules)}) cannot be measured: {refusal}")
    elif head is not None and (prompt or not head.plain):
        stages = [f"prompt {prompt!r}"] * bool(prompt) + head.stages
        notes.append(f"its own `encode`, the pooling 'model': {'; '.join(stages)}")
    return Declared(head, refusal, pooling or None, prompts, prompt, notes=tuple(notes))


def make_head(modules: Sequence[Module], truncate_dim: Any = None) -> Head:
    """Head: the steps of the modules after the transformer.

    Raises
    ------
    InputError
        Naming the module or the setting that cannot be applied.
    """
    if not modules:
        raise InputError("it has no Pooling module")
    if modules[0].kind != "Pooling":
        raise InputError(f"module {modules[0].kind} stands where a Pooling is needed")
    whole = isinstance(truncate_dim, int) and not isinstance(truncate_dim, bool)
    if truncate_dim is not None and not (whole and truncate_dim >= 1):
        raise InputError(f"truncate_dim {truncate_dim!r} is not a whole number of at least 1")
    steps: list[nn.Module] = []
    for module in modules[1:]:
        for key in ("module_input_name", "module_output_name"):
            if module.config.get(key) not in (None, "sentence_embedding"):
                raise InputError(f"module {module.kind} works on {module.config[key]}")
        if module.kind == "Dense":
            steps.append(_filled(partial(Dense, module.config, _activation(module)), module))
        elif module.kind == "LayerNorm":
            steps.append(_filled(partial(LayerNorm, module.config), module))
        elif module.kind == "Normalize":
            steps.append(Normalize())
        elif module.kind != "Dropout":  # which does nothing outside of training
            raise InputError(f"module {module.kind} cannot be applied")
    if not modules[0].config:
        raise InputError("module Pooling has no config.json")
    include = modules[0].config.get("include_prompt", True)
    return Head(pooling_modes(modules[0].config), include_prompt=bool(include), steps=steps, truncate_dim=truncate_dim)


def _without_own_weights(config: Mapping[str, Any], inner: Path) -> Mapping[str, Any]:
    """Settings of a Transformer without the name of a file that the folder's weights are read from anyway.

    A folder with an MLM head in a file of its own names the encoder's so.
    """
    read = [file.relative_to(inner).as_posix() for file in weight_files(inner)]
    groups = [group for group in ("config_kwargs", "config_args") if config.get(group)]
    kept = {g: {k: v for k, v in config[g].items() if k != "transformers_weights" or v not in read} for g in groups}
    return {**config, **kept}


def transformer_refusal(config: Mapping[str, Any]) -> str:
    """Reason why a Transformer module gives more than the last hidden states; empty if it does not."""
    task = config.get("transformer_task", "feature-extraction")
    if task != "feature-extraction":
        return f"module Transformer has the task {task}"
    modalities = config.get("modality_config")
    if modalities is not None:
        text = modalities.get("text") or {}
        if "message" in modalities:
            return "module Transformer renders texts through a chat template"
        output = text.get("method_output_name")
        plain = output in ("last_hidden_state", ["last_hidden_state"], ("last_hidden_state",))
        if text.get("method") != "forward" or not plain or config.get("module_output_name") != "token_embeddings":
            return f"module Transformer returns {output} of {text.get('method')}, not the last hidden states of a text"
    for group in ("model_kwargs", "model_args", "processor_kwargs", "tokenizer_args", "config_kwargs", "config_args"):
        unknown = sorted(set(config.get(group) or {}) - _HARMLESS)
        if unknown:
            return f"module Transformer sets {unknown[0]} ({group})"
    changed = [f"{key}.{name}" for key, values in (config.get("processing_kwargs") or {}).items() for name in values]
    if changed:
        return f"module Transformer sets {changed[0]} (processing_kwargs)"
    if config.get("tokenizer_name_or_path"):
        return f"module Transformer takes its tokenizer from {config['tokenizer_name_or_path']}"
    return ""


def other_kind(kind: str, source: str) -> InputError:
    """Error for a sentence-transformers model that gives no dense vectors of texts."""
    name = source if kind in source else f"{source} is a {kind} of sentence-transformers: it"
    return InputError(
        f"{name} {_OTHER_KINDS[kind]}.",
        "geomprobe measures encoders of texts. The token states of its transformer: "
        "geomprobe.load_encoder(model[0].auto_model, tokenizer=model.tokenizer)",
    )


def no_transformer(source: str, modules: Sequence[Module], place: Path | None = None) -> InputError:
    """Error for a model whose first module is not a transformer; `place` is that module's folder."""
    kinds = [module.kind for module in modules]
    hint = MEASURE
    if kinds and kinds[0] in ("Router", "Asym"):
        why = "sends each text to one of several encoders by its task (query, document)"
    elif not kinds or kinds[0] in _WITHOUT_TRANSFORMER:
        why = "has no transformer, so no token states"
    else:
        why = f"begins with the module {kinds[0]}, which geomprobe cannot apply"
        if place is not None and (place / "config.json").is_file():
            hint = f"The model in it may be measured by itself: {place}. {MEASURE}"
    return InputError(f"{source} (sentence-transformers: {', '.join(kinds)}) {why}.", hint)


def lowercased(tokenizer: Any) -> bool:
    """Make a fast tokenizer lower-case texts, as sentence-transformers does; return whether it now does.

    Its added tokens, such as [MASK], stay as they are.
    """
    if not getattr(tokenizer, "is_fast", False):
        return False
    from tokenizers import normalizers

    backend = tokenizer.backend_tokenizer
    probe = backend.normalizer.normalize_str("A") if backend.normalizer is not None else "A"
    if probe.strip() != "a":
        rest = [] if backend.normalizer is None else [backend.normalizer]
        backend.normalizer = normalizers.Sequence([normalizers.Lowercase(), *rest])
    return True


def _kind(declared: str, modules: Sequence[Module]) -> str:
    """Class of model: what the folder states, else what its modules show."""
    if declared in _OTHER_KINDS:
        return declared
    names = {module.name for module in modules}
    if any(".sparse_encoder." in m.path for m in modules) or names & {"SpladePooling", "MLMTransformer"}:
        return "SparseEncoder"
    if any(".multi_vector_encoder." in m.path for m in modules):
        return "MultiVectorEncoder"
    if modules[0].config.get("transformer_task") == "sequence-classification":
        return "CrossEncoder"
    return "SentenceTransformer"


def _stored(path: str, place: Path) -> Module:
    """A module of a folder; its weights are read when they are asked for."""
    if path.rsplit(".", 1)[-1] == "Transformer":  # its config.json is the model's own
        named = (place / f"sentence_{name}_config.json" for name in _TRANSFORMER_CONFIGS)
        config = next((found for file in named if (found := read_settings(file))), {})
    else:
        config = read_settings(place / "config.json")

    def weights() -> Mapping[str, torch.Tensor]:
        file = place / "model.safetensors"
        if not file.is_file():
            why = "has no model.safetensors; a pytorch_model.bin, which can run code when opened, is not read"
            raise InputError(f"module {path.rsplit('.', 1)[-1]} {why}")
        return {name: tensor.float() for name, tensor in read_tensors(file).items()}

    return Module(path, config, weights)


def _loaded(module: nn.Module) -> Module:
    """A module of a loaded model."""
    kind, linear = type(module), getattr(module, "linear", None)
    config = dict(getattr(module, "get_config_dict", dict)())
    if isinstance(linear, nn.Linear):
        config["bias"] = linear.bias is not None
    given = getattr(module, "activation_function", None)
    activation = copy.deepcopy(given) if isinstance(given, nn.Module) else None
    return Module(f"{kind.__module__}.{kind.__qualname__}", config, module.state_dict, activation)


def _activation(module: Module) -> nn.Module:
    """Activation of a Dense, which is a class of torch.nn that is made without arguments."""
    given = module.activation
    if given is not None:
        if type(given).__module__.startswith("torch.nn."):
            return given
        raise InputError(f"module Dense has the activation {type(given).__qualname__}, which is not one of torch.nn")
    path = str(module.config.get("activation_function", "torch.nn.modules.activation.Tanh"))
    found = getattr(nn, path.rsplit(".", 1)[-1], None) if path.startswith("torch.nn.") else None
    if isinstance(found, type) and issubclass(found, nn.Module) and not path.startswith("torch.nn.functional."):
        with contextlib.suppress(TypeError):  # needs arguments
            return found()
    raise InputError(f"module Dense has the activation {path}, which is not one of torch.nn")


def _filled(make: Callable[[], nn.Module], module: Module) -> nn.Module:
    """A step with the module's weights, all of them and no others; a loaded module's weights are shared."""
    with torch.device("meta"):  # no memory for what the config claims
        step = make()
    try:
        step.load_state_dict({name: tensor.detach() for name, tensor in module.weights().items()}, assign=True)
    except RuntimeError as error:
        text = " ".join(str(error).split())[:200]
        raise InputError(f"module {module.kind}: its weights do not fit its config: {text}") from None
    bad = [name for name, tensor in step.state_dict().items() if not bool(torch.isfinite(tensor).all())]
    if bad:
        raise InputError(f"module {module.kind}: its weights {bad[0]} hold NaN or infinity")
    return step
