"""Recipes are read from TOML, whole and checked; every part of a loss is nothing where student and teacher agree."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from data.errors import DataFileError, InputError
from search.distillation import recipe as recipes
from search.distillation.losses import relation_heads, relation_loss
from search.distillation.recipe import default_recipe, read_recipe

DEFAULT = Path(recipes.__file__).with_name("recipe.toml")


def test_the_default_recipe_is_the_file_that_comes_with_the_package() -> None:
    assert read_recipe(DEFAULT) == default_recipe()
    assert default_recipe().losses.logits > 0


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("learning_rate = ", "learning_rat = ", "learning_rate"),
        ("hidden = ", "hiden = ", "losses"),
        ("batch_size = 32", 'batch_size = "many"', "batch_size"),
        ("[losses]", "[losses", "not TOML"),
    ],
)
def test_a_damaged_recipe_is_one_line_that_names_the_key(old: str, new: str, told: str, tmp_path: Path) -> None:
    text = DEFAULT.read_text()
    assert old in text
    path = tmp_path / "recipe.toml"
    path.write_text(text.replace(old, new, 1))
    with pytest.raises(DataFileError, match=told) as caught:
        read_recipe(path)
    assert "\n" not in str(caught.value)


def test_a_recipe_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot read"):
        read_recipe(tmp_path / "none.toml")


@settings(deadline=None, max_examples=25)
@given(st.sampled_from([16, 32, 96, 224, 384]), st.integers(1, 3), st.integers(2, 9), st.integers(0, 9))
def test_relations_agree_with_themselves_under_any_rotation_of_their_heads(
    width: int, rows: int, length: int, seed: int
) -> None:
    random = torch.Generator().manual_seed(seed)
    projections = torch.randn(rows, length, width, generator=random)
    mask = torch.ones(rows, length, dtype=torch.int64)
    mask[0, length // 2 + 1 :] = 0
    heads = relation_heads(width, width)
    turned = torch.linalg.qr(torch.randn(width // heads, width // heads, generator=random))[0]
    rotated = (projections.view(rows, length, heads, -1) @ turned).reshape(rows, length, width)
    assert abs(float(relation_loss(rotated, projections, mask))) < 1e-4
    other = torch.randn(rows, length, width, generator=random)
    assert float(relation_loss(other, projections, mask)) > 1e-3
    # What is padding counts nowhere.
    changed = rotated.clone()
    changed[mask == 0] = 7.0
    assert float(relation_loss(changed, projections, mask)) == pytest.approx(
        float(relation_loss(rotated, projections, mask)), abs=1e-5
    )


@given(st.integers(1, 48), st.integers(1, 48))
def test_relation_heads_split_both_widths(student: int, teacher: int) -> None:
    heads = relation_heads(8 * student, 8 * teacher)
    assert 1 <= heads <= 24
    assert (8 * student) % heads == (8 * teacher) % heads == 0
