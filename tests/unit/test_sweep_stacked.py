"""Heads trained in a stack against heads trained one at a time by a plain loop."""

import pytest
import torch
from torch.nn.functional import cross_entropy

from train.fit.loaders import EpochOrder, mixed_seed
from train.networks.transfer import make_head
from train.sweep.heads import (
    HeadTraining,
    Rows,
    Setting,
    StackedHeads,
    answers,
    stacks,
    train_stack,
)

FEATURES, CLASSES, EPOCHS, BATCH = 12, 3, 4, 16


def drawn_rows(photos=70, seed=0) -> Rows:
    """Features around one centre for each class, with noise enough to be wrong at times."""
    generator = torch.Generator().manual_seed(seed)
    centres = torch.randn(CLASSES, FEATURES, generator=torch.Generator().manual_seed(99))
    labels = torch.randint(0, CLASSES, (photos,), generator=generator)
    noise = torch.randn(photos, FEATURES, generator=generator)
    return Rows(centres[labels] + 1.5 * noise, labels)


def fresh_head(member: HeadTraining) -> torch.nn.Sequential:
    torch.manual_seed(member.seed)
    return make_head(FEATURES, CLASSES, inner=member.setting.inner, dropout=member.setting.dropout)


def train_alone(member: HeadTraining, rows: Rows) -> torch.nn.Sequential:
    """The same training in torch's plainest words: one head, one Adam, one batch after another."""
    head = fresh_head(member)
    linears = [layer for layer in head if isinstance(layer, torch.nn.Linear)]
    optimizer = torch.optim.Adam(head.parameters(), lr=member.setting.lr)
    order = EpochOrder(len(rows.labels), member.seed)
    for epoch in range(EPOCHS):
        order.epoch = epoch
        indices = [index for _, index in order]
        generator = torch.Generator().manual_seed(mixed_seed(member.seed, epoch, 0))
        for start in range(0, len(indices), BATCH):
            batch = indices[start : start + BATCH]
            values = rows.features[batch]
            if member.setting.inner:
                values = torch.relu(linears[0](values))
            if member.setting.dropout:
                draws = torch.rand(values.shape, generator=generator)
                kept = 1 - member.setting.dropout
                values = torch.where(draws < member.setting.dropout, 0.0, values / kept)
            loss = cross_entropy(linears[-1](values), rows.labels[batch])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return head.eval()


def in_a_stack(members: list[HeadTraining], rows: Rows) -> StackedHeads:
    heads = [fresh_head(member) for member in members]
    return train_stack(members, heads, rows, epochs=EPOCHS, batch=BATCH)


def grid(inner: int) -> list[HeadTraining]:
    return [
        HeadTraining(Setting(lr, inner, dropout), seed)
        for lr in (1e-3, 1e-2, 1e-1)
        for dropout in (0.0, 0.2, 0.5)
        for seed in (0, 5)
    ]


@pytest.mark.parametrize("inner", [0, 7])
def test_a_head_in_a_stack_learns_what_it_learns_alone(inner):
    rows, unseen = drawn_rows(), drawn_rows(seed=1)
    members = grid(inner)

    logits = in_a_stack(members, rows)(unseen.features.expand(len(members), -1, -1))

    for member, stacked in zip(members, logits, strict=True):
        alone = train_alone(member, rows)(unseen.features)
        torch.testing.assert_close(stacked, alone, rtol=1e-3, atol=1e-4)


def test_a_heads_weights_do_not_depend_on_what_it_is_stacked_with():
    rows = drawn_rows()
    members = grid(7)

    together, pair = in_a_stack(members, rows), in_a_stack(members[4:6], rows)

    for whole, part in zip(together.parameters(), pair.parameters(), strict=True):
        torch.testing.assert_close(whole[4:6], part, rtol=1e-4, atol=1e-5)


def test_a_head_that_diverges_leaves_the_others_alone():
    rows = drawn_rows()
    calm, wild = HeadTraining(Setting(1e-2, 7, 0.0), 0), HeadTraining(Setting(1e38, 7, 0.0), 0)

    stack = in_a_stack([calm, wild], rows)
    found = answers(stack, rows)

    alone = train_alone(calm, rows)(rows.features)
    assert (found.right[0] == (alone.argmax(1) == rows.labels).numpy()).all()
    assert not stack(rows.features.expand(2, -1, -1))[1].isfinite().all()
    assert not found.right[1].all()


def test_answers_count_the_right_photos_and_the_mean_loss():
    rows = drawn_rows(photos=600)  # more than one batch of evaluation
    members = grid(0)[:3]
    stack = in_a_stack(members, rows)

    found = answers(stack, rows)

    for head, member in enumerate(members):
        logits = train_alone(member, rows)(rows.features)
        assert found.right[head].mean() == pytest.approx(
            (logits.argmax(1) == rows.labels).double().mean().item(), abs=2 / 600
        )
        assert found.loss[head] == pytest.approx(
            cross_entropy(logits, rows.labels).item(), rel=1e-3
        )


def test_stacks_hold_heads_of_one_shape_whose_weights_fit():
    members = [*grid(0), *grid(7)]

    made = list(stacks(members, lambda inner: 100 * (inner + 1), max_bytes=2000))

    assert sorted(repr(member) for stack in made for member in stack) == sorted(map(repr, members))
    assert all(len({member.setting.inner for member in stack}) == 1 for stack in made)
    assert [len(stack) for stack in made] == [18, 2, 2, 2, 2, 2, 2, 2, 2, 2]


def test_a_head_larger_than_a_stack_may_be_is_trained_by_itself():
    made = list(stacks(grid(7), lambda inner: 10_000, max_bytes=2000))

    assert [len(stack) for stack in made] == [1] * 18


def test_progress_counts_every_epoch_of_every_head():
    counted: list[int] = []
    members = grid(0)[:5]
    heads = [fresh_head(member) for member in members]

    train_stack(members, heads, drawn_rows(), epochs=EPOCHS, batch=BATCH, progress=counted.append)

    assert sum(counted) == 5 * EPOCHS
