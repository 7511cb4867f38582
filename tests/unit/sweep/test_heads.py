"""Heads of a sweep against the same training in torch's plainest words."""

import pytest
import torch
from torch.nn.functional import cross_entropy

from train.fit.loaders import EpochOrder, mixed_seed
from train.networks.transfer import make_head
from train.sweep.heads import Rows, Setting, measure_head, train_head

FEATURES, CLASSES, EPOCHS, BATCH = 12, 3, 4, 16


def drawn_rows(photos: int = 70, seed: int = 0) -> Rows:
    """Features around one centre for each class, with noise enough to be wrong at times."""
    generator = torch.Generator().manual_seed(seed)
    centres = torch.randn(CLASSES, FEATURES, generator=torch.Generator().manual_seed(99))
    labels = torch.randint(0, CLASSES, (photos,), generator=generator)
    noise = torch.randn(photos, FEATURES, generator=generator)
    return Rows(centres[labels] + 1.5 * noise, labels)


def fresh_head(setting: Setting, seed: int) -> torch.nn.Sequential:
    torch.manual_seed(seed)
    return make_head(FEATURES, CLASSES, inner=setting.inner, dropout=setting.dropout)


def trained(setting: Setting, seed: int, rows: Rows) -> torch.nn.Sequential:
    head = fresh_head(setting, seed)
    train_head(head, rows, lr=setting.lr, seed=seed, epochs=EPOCHS, batch=BATCH)
    return head.eval()


def trained_by_hand(setting: Setting, seed: int, rows: Rows) -> torch.nn.Sequential:
    head = fresh_head(setting, seed)
    linears = [layer for layer in head if isinstance(layer, torch.nn.Linear)]
    optimizer = torch.optim.Adam(head.parameters(), lr=setting.lr)
    order = EpochOrder(len(rows.labels), seed)
    for epoch in range(EPOCHS):
        order.epoch = epoch
        indices = [index for _, index in order]
        torch.manual_seed(mixed_seed(seed, epoch, 0))
        for start in range(0, len(indices), BATCH):
            batch = indices[start : start + BATCH]
            values = rows.features[batch]
            if setting.inner:
                values = torch.relu(linears[0](values))
            if setting.dropout:
                values = torch.dropout(values, setting.dropout, train=True)
            loss = cross_entropy(linears[-1](values), rows.labels[batch])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return head.eval()


@pytest.mark.parametrize("inner", [0, 7])
@pytest.mark.parametrize("dropout", [0.0, 0.5])
@pytest.mark.parametrize(("lr", "seed"), [(1e-3, 0), (1e-1, 5)])
def test_a_head_learns_what_a_plain_loop_learns(inner, dropout, lr, seed):
    rows, unseen = drawn_rows(), drawn_rows(seed=1)
    setting = Setting(lr, inner, dropout)
    found = trained(setting, seed, rows)(unseen.features)
    torch.testing.assert_close(
        found, trained_by_hand(setting, seed, rows)(unseen.features), rtol=1e-3, atol=1e-4
    )


def test_a_head_that_has_diverged_names_no_photo_rightly():
    rows = drawn_rows()
    right, loss = measure_head(trained(Setting(1e38, 7, 0.0), 0, rows), rows)
    assert not right.any()
    assert not torch.tensor(loss).isfinite()


def test_a_head_is_measured_without_dropout_on_every_photo():
    rows = drawn_rows(photos=1500)  # more than one batch of evaluation
    head = trained(Setting(1e-2, 0, 0.5), 0, rows)
    right, loss = measure_head(head, rows)
    logits = head(rows.features)
    assert (right == (logits.argmax(1) == rows.labels).numpy()).all()
    assert loss == pytest.approx(cross_entropy(logits, rows.labels).item(), rel=1e-4)
