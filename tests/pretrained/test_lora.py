"""Fine-tuning on the seed: it learns, is the same twice, is saved as safetensors, and leaves the model as it was."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import diffusers
import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from synthgen.errors import DataError, EnvironmentProblem
from synthgen.seeds import rng_of
from synthgen.testing import digest, tiny_context, tiny_real
from synthgen_pretrained import lora
from synthgen_pretrained.loading import Pipeline, load
from synthgen_pretrained.lora import Lesson, Training, train
from synthgen_pretrained.studio import hash_of

Make = Callable[..., Any]
pytestmark = pytest.mark.slow


def lessons(n: int = 2, mask: bool = True) -> list[Lesson]:
    """Images of two sizes."""
    found = []
    for k in range(n):
        size = (32, 32) if k % 2 else (32, 48)
        image = rng_of(k).integers(0, 256, (*size, 3), np.uint8)
        region = np.zeros(size, bool)
        region[8:24, 8:24] = True
        found.append(Lesson(image, "a photo of cells", region if mask else None))
    return found


def taught(folder: Path, steps: int, batch: int = 1, rate: float = 3e-3, seed: int = 5,
           log: Any = lambda *_: None, notes: Path | None = None) -> tuple[Any, Any, Pipeline]:
    pipeline = load("inpaint-objects", folder, None, "float32", "cpu")
    how = Training(steps, 4, rate, batch, seed)
    with TemporaryDirectory() as nowhere:
        state, losses = train(pipeline, lessons(), how, "cpu", log, notes or Path(nowhere))
    return state, losses, pipeline


@pytest.mark.parametrize("which", ["plain", "inpaint"])
def test_the_loss_moves_down_on_the_same_noise(which: str, request: pytest.FixtureRequest) -> None:
    _, (before, after), _ = taught(request.getfixturevalue(which), 30)
    assert after < before - 0.002


def test_no_step_leaves_the_loss_where_it_was(plain: Path) -> None:
    state, (before, after), _ = taught(plain, 0)
    assert after == before  # the second factor starts at zero (Hu et al. 2022, section 4.1)
    second = [value for name, value in state.items() if "lora_B" in name or "lora.up" in name]
    assert len(second) == len(state) // 2
    assert not any(value.any() for value in second)


def test_the_same_seed_learns_the_same_and_another_seed_another_thing(plain: Path) -> None:
    hashes = [hash_of(taught(plain, 3, batch=2, seed=s)[0]) for s in (5, 5, 6)]
    assert hashes[0] == hashes[1] != hashes[2]
    assert hash_of(None) == ""


def test_training_leaves_the_pipeline_as_it_was(plain: Path) -> None:
    _, _, pipeline = taught(plain, 2)
    fresh = load("inpaint-objects", plain, None, "float32", "cpu")
    for part in ("unet", "vae", "text_encoder"):
        mine, theirs = (getattr(p.pipe, part).state_dict() for p in (pipeline, fresh))
        assert list(mine) == list(theirs)
        assert all(torch.equal(mine[name], theirs[name]) for name in mine)


def test_what_was_learned_changes_what_is_drawn_and_comes_back_from_safetensors(
        make: Make, plain: Path, tmp_path: Path) -> None:
    real = tiny_real(1, (24, 32))
    found = []
    for options in ({}, {"lora": {"steps": 20, "rate": 0.01}}):
        generator = make(model=plain, **options)
        generator.fit(real, [], tiny_context(tmp_path))
        found.append(next(iter(generator.sample([1]))))
    assert found[0].labels.masks == found[1].labels.masks
    assert (found[0].image != found[1].image).any()
    assert found[0].origin.weights != found[1].origin.weights
    generator.save(tmp_path)
    assert all(name.startswith("unet.") for name in load_file(tmp_path / "lora.safetensors"))
    again = make(model=plain, lora={"steps": 20, "rate": 0.01})
    again.load(tmp_path)
    assert digest(next(iter(again.sample([1])))) == digest(found[1])
    before, after = generator._about["loss"]
    assert after != before


def test_a_fine_tuning_that_was_cut_off_ends_in_the_same_bytes(plain: Path, tmp_path: Path) -> None:
    steps, told = 2 * lora.EVERY + 10, []

    def cut(_what: str, done: int, _total: int) -> None:
        if done == lora.EVERY + 5:
            raise KeyboardInterrupt

    whole, losses, _ = taught(plain, steps)
    with pytest.raises(KeyboardInterrupt):
        taught(plain, steps, log=cut, notes=tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [lora.CHECKPOINT]
    rest, again, _ = taught(plain, steps, log=lambda _, done, total: told.append(done), notes=tmp_path)
    assert told == list(range(lora.EVERY + 1, steps + 1))
    assert hash_of(rest) == hash_of(whole)
    assert again == losses
    assert not list(tmp_path.iterdir())


def test_the_checkpoint_of_another_training_is_not_taken_up(plain: Path, tmp_path: Path) -> None:
    def cut(_what: str, done: int, _total: int) -> None:
        if done == lora.EVERY:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        taught(plain, lora.EVERY + 1, seed=6, log=cut, notes=tmp_path)
    assert hash_of(taught(plain, 2, notes=tmp_path)[0]) == hash_of(taught(plain, 2)[0])


def test_progress_is_told_step_by_step(plain: Path, tmp_path: Path) -> None:
    told: list[tuple[str, float, float]] = []
    pipeline = load("text", plain, None, "float32", "cpu")
    train(pipeline, lessons(1, mask=False), Training(3, 2, 1e-3, 1, 0), "cpu", lambda *step: told.append(step),
          tmp_path)
    assert told == [("fine-tune", k, 3) for k in (1, 2, 3)]


def test_velocity_can_be_learned_and_other_aims_are_refused(tiny: Any, tmp_path: Path) -> None:
    for aim in ("v_prediction", "sample"):
        pipe = diffusers.StableDiffusionPipeline(**tiny.parts(prediction_type=aim))
        pipeline = load("text", tiny.saved(pipe, tmp_path / aim), None, "float32", "cpu")
        how = Training(1, 2, 1e-3, 1, 0)
        if aim == "sample":
            with pytest.raises(DataError, match="the model predicts sample"):
                train(pipeline, lessons(1, mask=False), how, "cpu", lambda *_: None, tmp_path)
        else:
            losses = train(pipeline, lessons(1, mask=False), how, "cpu", lambda *_: None, tmp_path)[1]
            assert np.isfinite(losses).all()


def test_a_rate_that_blows_up_is_told(plain: Path) -> None:
    with pytest.raises(DataError, match="the loss is no number after 8 steps"):
        taught(plain, 8, rate=1e30)


def test_models_of_other_precision_are_fine_tuned_one_after_the_other(plain: Path, tmp_path: Path) -> None:
    for precision in ("bfloat16", "float32"):
        pipeline = load("text", plain, None, precision, "cpu")
        how = Training(1, 2, 1e-3, 1, 0)
        state, losses = train(pipeline, lessons(1, mask=False), how, "cpu", lambda *_: None, tmp_path)
        assert np.isfinite(losses).all()
        assert {value.dtype for value in state.values()} == {torch.float32}
    with pytest.raises(DataError, match="float16 cannot be fine-tuned"):
        train(load("text", plain, None, "float16", "cpu"), lessons(1), Training(1, 2, 1e-3, 1, 0), "cpu",
              lambda *_: None, tmp_path)


def test_when_memory_runs_out_the_error_says_what_helps(plain: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def scarce(*_: Any) -> Any:
        raise torch.OutOfMemoryError

    monkeypatch.setattr(lora._Student, "loss", scarce)
    with pytest.raises(EnvironmentProblem, match=r"lower side or lora\.batch"):
        taught(plain, 1)


def test_what_was_learned_for_another_model_is_refused(plain: Path, tiny: Any, tmp_path: Path) -> None:
    state, _, _ = taught(plain, 1)
    wide = {k: torch.cat([v, v]) if v.ndim == 2 else v for k, v in state.items()}
    pipeline = load("text", plain, None, "float32", "cpu")
    with pytest.raises(DataError, match="does not fit the model"):
        lora.add(pipeline, wide)
