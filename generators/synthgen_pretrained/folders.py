"""Where a model's files are, what may be among them, and their hash: no pickles, no code of the model's own."""

from __future__ import annotations

import hashlib
import json
import os
from functools import lru_cache
from pathlib import Path

from synthgen.errors import DataError, EnvironmentProblem
from synthgen.types import Json
from synthgen_pretrained.quiet import missing, quiet

INDEX = "model_index.json"
SAFE = (".safetensors",)
PICKLES = (".bin", ".ckpt", ".pt", ".pth", ".pkl")
READ = (*SAFE, ".json", ".txt", ".model")  # what loading reads, and what the hash is over
HALF = "fp16"  # the variant whose files are taken where a component has no others
CONTROLNET = ("config.json", "diffusion_pytorch_model.safetensors", "diffusion_pytorch_model-*.safetensors",
              "diffusion_pytorch_model.safetensors.index.json")


def check_pipeline(folder: Path) -> None:
    """Refuse a folder that is no diffusers pipeline in safetensors.

    Raises: DataError when there is no such folder, no pipeline in it, one that wants code of its own, or a part of it
    whose weights are pickles.
    """
    index = _json(folder, INDEX, "a diffusers pipeline", "what save_pretrained writes, with a folder for each part")
    name = index.get("_class_name")
    if not isinstance(name, str):
        raise DataError(f"{folder / INDEX}: the pipeline wants code of its own ({name}), which is never run; name a "
                        "model whose _class_name is a pipeline of diffusers")
    for part, (library, kind) in parts_of(folder).items():
        if library not in ("diffusers", "transformers") and not _in_diffusers(library):
            raise DataError(f"{folder / INDEX}: the part {part} comes from {library}.{kind}, and only parts of "
                            "diffusers and transformers are loaded, never code that lies beside the weights")
        if (folder / part).is_dir():
            check_weights(folder / part)


def check_controlnet(folder: Path) -> str:
    """The class of a ControlNet in safetensors. Raises: DataError, as `check_pipeline`."""
    config = _json(folder, "config.json", "a ControlNet", "config.json and diffusion_pytorch_model.safetensors")
    name = str(config.get("_class_name"))
    if "ControlNet" not in name:
        raise DataError(f"{folder / 'config.json'}: this is a {name}, not a ControlNet")
    check_weights(folder)
    return name


def check_weights(folder: Path) -> None:
    """Refuse a folder whose weights are pickles alone: one can run any code when it is loaded. Raises: DataError."""
    pickles = sorted(p.name for p in folder.iterdir() if p.suffix in PICKLES)
    if pickles and not any(p.suffix in SAFE for p in folder.iterdir()):
        raise DataError(f"{folder / pickles[0]}: these weights are a pickle, which can run any code when it is loaded; "
                        "only .safetensors are read. Take a revision that has them, or convert on a machine that you "
                        "can afford to lose: DiffusionPipeline.from_pretrained(folder).save_pretrained(new_folder)")


def parts_of(folder: Path) -> dict[str, tuple[str, str]]:
    """Part → (library, class) of a pipeline's parts; those that it leaves empty are left out."""
    index = json.loads((folder / INDEX).read_text("utf-8"))
    return {name: (str(value[0]), str(value[1])) for name, value in index.items()
            if not name.startswith("_") and isinstance(value, list) and len(value) == 2 and value[0] is not None}


def variant_of(folder: Path) -> str | None:
    """`fp16` where a part's only weights are of that variant."""
    names = [p.name for p in folder.iterdir() if p.suffix in SAFE] if folder.is_dir() else []
    return HALF if names and all(f".{HALF}." in name or f".{HALF}-" in name for name in names) else None


def weights_hash(*folders: Path | None) -> str:
    """16 hex digits of a SHA-256 over the names and bytes of all files that loading reads, folder by folder."""
    total = hashlib.sha256()
    for folder in folders:
        total.update(b"folder\n")
        for path in [] if folder is None else files_read(folder):
            stat = path.stat()
            digest = _digest(str(path), stat.st_size, stat.st_mtime_ns)
            total.update(f"{path.relative_to(folder or path).as_posix()} {digest}\n".encode())
    return total.hexdigest()[:16]


def files_read(folder: Path) -> list[Path]:
    """The files that loading reads: of a pipeline the index and its parts' folders, of a ControlNet its own."""
    top = [folder / INDEX] if (folder / INDEX).exists() else sorted(folder.iterdir())
    inner = [p for part in parts_of(folder) if (folder / part).is_dir() for p in sorted((folder / part).rglob("*"))
             ] if (folder / INDEX).exists() else []
    return [p for p in (*top, *inner) if p.is_file() and p.suffix in READ]


def fetched(repo: str, revision: str, *, pipeline: bool) -> Path:
    """The folder in the Hub's cache that holds a repository at a commit; fetched when it is not there yet.

    Only what the pipeline (or ControlNet) reads is fetched, and of weights only safetensors.
    Raises: EnvironmentProblem when it is not there and the Hub cannot be reached, or diffusers is missing; DataError
    when the Hub has no such repository or commit, or no safetensors in it.
    """
    # Before the import, which reads it: nothing is told to anybody.
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    with quiet():
        try:
            from diffusers import DiffusionPipeline
            from huggingface_hub import snapshot_download
            from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError, RevisionNotFoundError
        except ImportError as error:
            raise missing(error) from None

    def get(offline: bool) -> Path:
        if pipeline:
            return Path(DiffusionPipeline.download(repo, revision=revision, use_safetensors=True,
                                                   trust_remote_code=False, local_files_only=offline))
        return Path(snapshot_download(repo, revision=revision, allow_patterns=list(CONTROLNET),
                                      local_files_only=offline))

    at = f"{repo} at {revision[:12]}"
    try:
        with quiet():
            try:
                found = get(offline=True)
                if whole(found):  # a commit never changes: what is in the cache is right
                    return found
            except Exception:  # noqa: S110  # whatever it was, the Hub is asked next, and what it says is told
                pass
            return get(offline=False)
    except (RepositoryNotFoundError, RevisionNotFoundError) as error:
        gated = isinstance(error, GatedRepoError)
        wanted = "it asks for a login (hf auth login)" if gated else "it does not exist, or not for you (hf auth login)"
        raise DataError(f"{at}: the Hub does not give it: {wanted}") from None
    except Exception as error:  # what the libraries raise for want of a network has no common base
        said = " ".join(str(error).split())[:200]
        if "safetensors" in said:
            raise DataError(f"{at}: there are no safetensors for all parts of it, and pickles are never read; take a "
                            "revision that has them") from None
        raise EnvironmentProblem(f"{at}: it is not on this machine and the Hub cannot be reached ({said}); where there "
                                 f"is a network say: hf download {repo} --revision {revision} --local-dir FOLDER, and "
                                 "name that folder in the recipe instead") from None


def whole(folder: Path) -> bool:
    """Whether nothing is missing that an interrupted fetch would have left out."""
    places = [folder / part for part in parts_of(folder)] if (folder / INDEX).exists() else [folder]
    for place in places:
        if not place.is_dir():
            return False
        weights = {p.name for p in place.iterdir() if p.suffix in SAFE}
        for index in place.glob("*.safetensors.index*.json"):
            if not set(json.loads(index.read_text("utf-8"))["weight_map"].values()) <= weights:
                return False
        if (place / "config.json").exists() and not weights:
            return False
    return (folder / INDEX).exists() or (folder / "config.json").exists()


def _json(folder: Path, name: str, what: str, wanted: str) -> dict[str, Json]:
    if not folder.is_dir():
        raise DataError(f"{folder}: there is no such folder; name one that holds {what}")
    try:
        found = json.loads((folder / name).read_text("utf-8"))
    except FileNotFoundError:
        one = [p.name for p in sorted(folder.iterdir()) if p.suffix in (*SAFE, *PICKLES)]
        hint = f"; {one[0]} alone is a checkpoint of another layout, which diffusers converts" if one else ""
        raise DataError(f"{folder}: this is no folder of {what}: {name} is missing; it must hold {wanted}{hint}"
                        ) from None
    except ValueError as error:
        raise DataError(f"{folder / name}: this is no JSON ({error})") from None
    if not isinstance(found, dict):
        raise DataError(f"{folder / name}: this must be a JSON object")
    return found


def _in_diffusers(library: str) -> bool:
    """Whether diffusers has a folder of pipelines of that name; it is looked for without importing anything."""
    from importlib.util import find_spec

    spec = find_spec("diffusers")
    places = (spec.submodule_search_locations or []) if spec is not None else []
    return library.isidentifier() and any((Path(p) / "pipelines" / library).is_dir() for p in places)


@lru_cache(maxsize=4096)
def _digest(path: str, size: int, changed: int) -> str:
    del size, changed  # a file of the same size and time is not read again in this process
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
